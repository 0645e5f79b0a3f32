#include "api/access.h"

#include <gtest/gtest.h>

namespace exomesh::api {
namespace {

TEST(Access, KnowsLoopbackHosts) {
    for (const std::string_view host : {"localhost", "LOCALHOST:80", "a.localhost", "localhost.",
                                        "127.0.0.1", "127.1.2.3:52415", "[::1]", "[::1]:80"}) {
        EXPECT_TRUE(is_loopback_host(host)) << host;
    }
    for (const std::string_view host :
         {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.evil.a.b",
          "xlocalhost", "128.0.0.1", "[::2]", "127.0.0.1@evil.example", "0.0.0.0"}) {
        EXPECT_FALSE(is_loopback_host(host)) << host;
    }
}

TEST(Access, ComparesKeysWhole) {
    EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abd", "abc"));
    EXPECT_FALSE(equal_in_constant_time("ab", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abcabc", "abc"));
    EXPECT_FALSE(equal_in_constant_time("", "abc"));
    EXPECT_FALSE(equal_in_constant_time("abc", ""));
}

TEST(Access, WantsTheKeyAsABearerToken) {
    const AccessPolicy policy{.api_key = "k", .allowed_origins = {}};
    const auto status = [&](std::optional<std::string_view> authorization) {
        const auto result =
            check_key(policy, {.host = "", .origin = {}, .authorization = authorization});
        return result ? 200U : result.error().status;
    };
    EXPECT_EQ(status({}), 401U);
    EXPECT_EQ(status("Basic k"), 401U);
    EXPECT_EQ(status("Bearer"), 401U);
    EXPECT_EQ(status("Bearer x"), 401U);
    EXPECT_EQ(status("Bearer k"), 200U);
    EXPECT_EQ(status("bearer k"), 200U);
}

TEST(Access, RefusesForeignPages) {
    AccessPolicy policy;
    const auto allowed = [&](std::string_view host, std::optional<std::string_view> origin) {
        return check_origin(policy, {.host = host, .origin = origin, .authorization = {}})
            .has_value();
    };
    EXPECT_TRUE(allowed("localhost:1", {}));
    EXPECT_TRUE(allowed("localhost:1", "http://localhost:1"));
    EXPECT_FALSE(allowed("localhost:1", "http://localhost:2"));
    EXPECT_FALSE(allowed("localhost:1", "null"));
    EXPECT_FALSE(allowed("evil.example", "http://evil.example"));
    policy.api_key = "k";
    EXPECT_TRUE(allowed("node.example", {}));
    EXPECT_FALSE(allowed("node.example", "https://evil.example"));
    policy.allowed_origins = {"https://Chat.example"};
    EXPECT_TRUE(allowed("node.example", "https://chat.example"));
    policy.allowed_origins = {"*"};
    EXPECT_TRUE(allowed("node.example", "https://evil.example"));
}

}  // namespace
}  // namespace exomesh::api
