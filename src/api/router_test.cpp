#include "api/router.h"

#include <gtest/gtest.h>

namespace exomesh::api {
namespace {

TEST(Router, FindsEndpoints) {
    EXPECT_EQ(route(Method::get, "/")->endpoint, Endpoint::home);
    EXPECT_EQ(route(Method::head, "/health")->endpoint, Endpoint::health);
    EXPECT_EQ(route(Method::get, "/metrics?x=1")->endpoint, Endpoint::metrics);
    EXPECT_EQ(route(Method::get, "/v1/models/")->endpoint, Endpoint::models);
    EXPECT_EQ(route(Method::post, "/v1/completions")->endpoint, Endpoint::completions);
    EXPECT_EQ(route(Method::post, "/v1/chat/completions")->endpoint, Endpoint::chat_completions);
}

TEST(Router, DecodesModelIds) {
    EXPECT_EQ(route(Method::get, "/v1/models/a%2Fb%20c")->argument, "a/b c");
    EXPECT_EQ(route(Method::get, "/v1/models/a/b")->argument, "a/b");
    for (const std::string_view broken : {"/v1/models/%", "/v1/models/%2", "/v1/models/%zz"}) {
        EXPECT_EQ(route(Method::get, broken).error().error.status, 404U) << broken;
    }
}

TEST(Router, SaysWhatThereIs) {
    const auto nothing = route(Method::get, "/v1/embeddings");
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().error.status, 404U);
    EXPECT_TRUE(nothing.error().error.message.contains("POST /v1/chat/completions"));

    const auto method = route(Method::get, "/v1/completions");
    ASSERT_FALSE(method);
    EXPECT_EQ(method.error().error.status, 405U);
    EXPECT_EQ(method.error().allow, "POST, OPTIONS");
    EXPECT_EQ(route(Method::other, "/health").error().allow, "GET, HEAD, OPTIONS");
    EXPECT_EQ(allowed_methods("/nothing"), "");
}

}  // namespace
}  // namespace exomesh::api
