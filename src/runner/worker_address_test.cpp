#include "runner/worker_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "net/identity.h"

namespace exomesh::runner {
namespace {

using ::testing::HasSubstr;

TEST(WorkerAddress, is_read_as_it_was_written) {
    const auto identity = net::Identity::generate();
    ASSERT_TRUE(identity.has_value());
    for (const std::string host : {"localhost", "10.0.0.2", "fe80::1"}) {
        const auto address = parse_announcement(announcement(host, 4710, identity->peer_id()));
        ASSERT_TRUE(address.has_value()) << address.error().text();
        EXPECT_EQ(address->host, host);
        EXPECT_EQ(address->port, 4710);
        EXPECT_EQ(address->peer_id.text(), identity->peer_id().text());
    }
}

TEST(WorkerAddress, may_be_of_this_machine) {
    for (const char* const host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"})
        EXPECT_TRUE(is_loopback(host)) << host;
    for (const char* const host : {"", "10.0.0.1", "128.0.0.1", "::2", "localhost.example"})
        EXPECT_FALSE(is_loopback(host)) << host;
}

TEST(WorkerAddress, says_what_is_wrong_with_it) {
    const auto identity = net::Identity::generate();
    ASSERT_TRUE(identity.has_value());
    const std::string id = "/" + identity->peer_id().text();
    for (const auto& [text, words] :
         std::vector<std::pair<std::string, std::string>>{{"", "no /PEERID"},
                                                          {"host:1", "no /PEERID"},
                                                          {"host" + id, "no :PORT"},
                                                          {"host:" + id, "'' is no port"},
                                                          {"host:0" + id, "'0' is no port"},
                                                          {"host:65536" + id, "'65536' is no port"},
                                                          {"host:1x" + id, "'1x' is no port"},
                                                          {":1" + id, "no host"},
                                                          {"[]:1" + id, "no host"},
                                                          {"a host:1" + id, "no name"},
                                                          {"[[::1]]:1" + id, "no name"},
                                                          {"host:1/", "no peer id"},
                                                          {"host:1" + id + "x", "no peer id"}}) {
        SCOPED_TRACE(text);
        const auto address = parse_worker_address(text);
        ASSERT_FALSE(address.has_value());
        EXPECT_EQ(address.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(address.error().message, HasSubstr(words));
    }
}

TEST(WorkerAddress, is_not_what_another_program_says) {
    const auto address = parse_announcement("220 mail.example ESMTP");
    ASSERT_FALSE(address.has_value());
    EXPECT_THAT(address.error().message, HasSubstr("220 mail.example ESMTP"));
}

}  // namespace
}  // namespace exomesh::runner
