#include "runner/link_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

#include "net/testing/link_pair.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr auto load = static_cast<net::FrameType>(MessageType::load);
constexpr auto ping = static_cast<net::FrameType>(MessageType::ping);
constexpr auto pong = static_cast<net::FrameType>(MessageType::pong);

class LinkProbe : public ::testing::Test {
  protected:
    LinkProbe() {
        auto [head, worker] = net::testing::make_pair();
        controls_.push_back(std::move(head));
        workers_.push_back(std::move(worker));
    }
    std::vector<net::DataLink> controls_;
    std::vector<net::DataLink> workers_;
};

TEST_F(LinkProbe, finds_what_a_loopback_does_and_leaves_the_order_to_the_worker) {
    std::thread worker([this] {
        const auto order = answer_probes(workers_[0], patient());
        ASSERT_TRUE(order.has_value()) << order.error().text();
        EXPECT_EQ(order->type, load);
    });
    const auto figures = probe_links(controls_);
    EXPECT_TRUE(controls_[0].send(load, {}, patient()).has_value());
    worker.join();
    ASSERT_TRUE(figures.has_value()) << figures.error().text();
    EXPECT_GE(figures->latency_us, 1U);
    EXPECT_LT(figures->latency_us, 10'000U);
    EXPECT_GT(figures->bytes_per_ms, 10'000U) << "slower than 10 MB/s";
}

TEST_F(LinkProbe, names_a_worker_that_answers_with_something_else) {
    ASSERT_TRUE(workers_[0].send(load, {}, patient()).has_value());
    const auto figures = probe_links(controls_);
    ASSERT_FALSE(figures.has_value());
    EXPECT_EQ(figures.error().code, ErrorCode::corrupt_data);
    EXPECT_THAT(figures.error().message, StartsWith("rank 1 ("));
}

TEST_F(LinkProbe, names_the_worker_that_is_gone) {
    auto [head, worker] = net::testing::make_pair();
    worker.close();
    controls_.push_back(std::move(head));
    std::thread first([this] { (void)answer_probes(workers_[0], patient()); });
    const auto figures = probe_links(controls_);
    controls_[0].close();
    first.join();
    ASSERT_FALSE(figures.has_value());
    EXPECT_EQ(figures.error().code, ErrorCode::unavailable);
    EXPECT_THAT(figures.error().message, StartsWith("rank 2 ("));
}

TEST_F(LinkProbe, does_not_wait_for_a_silent_worker) {
    const auto figures = probe_links(controls_);
    ASSERT_FALSE(figures.has_value());
    EXPECT_THAT(figures.error().message, HasSubstr("silent"));
}

TEST_F(LinkProbe, refuses_a_probe_of_any_size) {
    const std::vector<std::byte> much(probe_bytes_max + 1);
    ASSERT_TRUE(controls_[0].send(ping, {much}, patient()).has_value());
    const auto order = answer_probes(workers_[0], patient());
    ASSERT_FALSE(order.has_value());
    EXPECT_EQ(order.error().code, ErrorCode::corrupt_data);
}

TEST_F(LinkProbe, ends_where_the_head_only_probes) {
    std::thread head([this] {
        for (int i = 0; i < 1000; ++i) {
            if (!controls_[0].send(ping, {}, patient()) || !controls_[0].receive(patient())) break;
        }
        controls_[0].close();
    });
    const auto order = answer_probes(workers_[0], patient());
    workers_[0].close();
    head.join();
    ASSERT_FALSE(order.has_value());
    EXPECT_EQ(order.error().code, ErrorCode::corrupt_data);
    EXPECT_THAT(order.error().message, HasSubstr("without end"));
    EXPECT_LE(workers_[0].stats().received_messages, probe_count_max + 1);
}

TEST_F(LinkProbe, passes_an_answer_out_of_turn_on_as_no_probe) {
    ASSERT_TRUE(controls_[0].send(pong, {}, patient()).has_value());
    const auto order = answer_probes(workers_[0], patient());
    ASSERT_TRUE(order.has_value());
    EXPECT_EQ(order->type, pong);
}

}  // namespace
}  // namespace exomesh::runner
