// Both bodies of RunnerHost; child processes that compute are in tests/cluster/.
#include "runner/runner_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "engine/open_shard.h"
#include "net/identity.h"
#include "platform/clock.h"
#include "runner/child_runner_host.h"
#include "runner/cluster.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using ::testing::HasSubstr;
using testing::TemporaryModel;

constexpr std::uint64_t stop_us_max = 3'000'000;

net::Identity new_head() {
    auto identity = net::Identity::generate();
    EXPECT_TRUE(identity.has_value());
    return *std::move(identity);
}

TEST(ThreadRunnerHost, starts_runners_anew_that_nobody_has_called) {
    const net::Identity head = new_head();
    ThreadRunnerHost host;
    const std::uint64_t begin_us = platform::monotonic_us();
    std::set<std::string> ids;
    for (const std::uint32_t count : {2U, 3U, 0U, 1U}) {
        const auto started = host.start(count, head.peer_id());
        ASSERT_TRUE(started.has_value()) << started.error().text();
        ASSERT_EQ(host.addresses().size(), count);
        for (const WorkerAddress& address : host.addresses()) ids.insert(address.peer_id.text());
    }
    EXPECT_EQ(host.explain_loss(0), "");
    host.stop();
    EXPECT_TRUE(host.addresses().empty());
    EXPECT_EQ(ids.size(), 6U);  // each runner is somebody else
    EXPECT_LT(platform::monotonic_us() - begin_us, stop_us_max);
}

// What an engine does after a rank was lost.
TEST(ThreadRunnerHost, serves_a_cluster_that_is_opened_anew) {
    const TemporaryModel model(tiny_architecture("llama"), {});
    const net::Identity head = new_head();
    ThreadRunnerHost host;
    for (int round = 0; round < 2; ++round) {
        ASSERT_TRUE(host.start(1, head.peer_id()).has_value());
        ClusterOptions cluster{.identity = head,
                               .workers = host.addresses(),
                               .split = {},
                               .shares = {},
                               .devices = {},
                               .spin_us = 0};
        cluster.explain_loss = [&](std::size_t rank) { return host.explain_loss(rank - 1); };
        const auto opened = open_cluster(model.file(), testing::play_options(model), cluster);
        ASSERT_TRUE(opened.has_value()) << opened.error().text();
        EXPECT_TRUE(testing::play(*opened->shard).has_value());
        if (round == 0) host.stop();  // amid a session
    }
    EXPECT_TRUE(host.join(0).has_value());
}

TEST(ThreadRunnerHost, names_a_runner_that_was_stopped_amid_a_session) {
    const TemporaryModel model(tiny_architecture("llama"), {});
    const net::Identity head = new_head();
    ThreadRunnerHost host;
    ASSERT_TRUE(host.start(1, head.peer_id()).has_value());
    const ClusterOptions cluster{.identity = head,
                                 .workers = host.addresses(),
                                 .split = {},
                                 .shares = {},
                                 .devices = {},
                                 .spin_us = 0};
    const auto opened = open_cluster(model.file(), testing::play_options(model), cluster);
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    host.stop();
    const auto played = testing::play(*opened->shard);
    ASSERT_FALSE(played.has_value());
    EXPECT_THAT(played.error().message, ::testing::StartsWith("rank 1 ("));
    EXPECT_THAT(played.error().message, HasSubstr("it was stopped there"));
}

TEST(ChildRunnerHost, says_why_a_program_cannot_be_started) {
    ChildRunnerHost host("/nonexistent/program");
    const auto started = host.start(1, new_head().peer_id());
    ASSERT_FALSE(started.has_value());
    EXPECT_THAT(started.error().message, HasSubstr("/nonexistent/program"));
}

TEST(ChildRunnerHost, says_how_a_runner_ended_before_it_could_be_reached) {
    ChildRunnerHost host("/bin/false");
    const auto started = host.start(2, new_head().peer_id());
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().code, ErrorCode::unavailable);
    EXPECT_THAT(started.error().message, HasSubstr("exit code 1"));
}

TEST(ChildRunnerHost, refuses_a_program_that_is_no_worker) {
    ChildRunnerHost host("/bin/echo");
    const auto started = host.start(1, new_head().peer_id());
    ASSERT_FALSE(started.has_value());
    EXPECT_THAT(started.error().message, HasSubstr("instead of its address"));
}

}  // namespace
}  // namespace exomesh::runner
