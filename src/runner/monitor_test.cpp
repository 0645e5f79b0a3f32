// The head's watch, with the test as its workers.
#include "runner/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "runner/worker.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using net::testing::Transport;
using ::testing::HasSubstr;
using ::testing::StartsWith;

net::FrameType frame_type(MessageType type) {
    return static_cast<net::FrameType>(type);
}

class MonitorTest : public ::testing::Test {
  protected:
    void watch(std::size_t count, std::function<std::string(std::size_t)> explain_loss = {}) {
        std::vector<net::DataLink> controls;
        for (std::size_t i = 0; i < count; ++i) {
            auto [head, worker] = net::testing::make_pair(Transport::local);
            controls.push_back(std::move(head));
            workers_.push_back(std::move(worker));
        }
        monitor_.emplace(
            std::move(controls), [this] { ++failure_count_; }, std::move(explain_loss));
    }
    void says(std::size_t worker, MessageType type, std::span<const std::byte> payload) {
        const auto sent = workers_[worker].send(frame_type(type), {payload}, patient());
        ASSERT_TRUE(sent.has_value()) << sent.error().text();
    }
    void says(std::size_t worker, const Error& error) {
        says(worker, MessageType::failure, encode_failure(error));
    }

    // The failure, in time; it interrupts once.
    Error failure() {
        const std::uint64_t begin_us = platform::monotonic_us();
        const auto ready = monitor_->wait_until_ready();
        EXPECT_LT(platform::monotonic_us() - begin_us, 1000 * (silence_ms_max + 1000));
        const auto found = monitor_->failure();
        monitor_.reset();
        EXPECT_FALSE(ready.has_value());
        EXPECT_EQ(failure_count_, 1);
        if (!found || ready) return {};
        EXPECT_EQ(ready.error().message, found->message);
        return *found;
    }

    std::vector<net::DataLink> workers_;
    std::atomic<int> failure_count_ = 0;
    std::optional<Monitor> monitor_;
};

TEST_F(MonitorTest, waits_for_all_and_ends_them) {
    watch(2);
    const ReadyReport report{
        .device = "cpu", .weight_bytes = 1, .cache_bytes = 2, .compute_bytes = 3};
    for (std::size_t i = 0; i < 2; ++i) {
        const float progress = 0.5F;
        says(i, MessageType::progress, std::as_bytes(std::span(&progress, 1)));
        says(i, MessageType::ready, encode_ready_report(report));
    }
    const auto ready = monitor_->wait_until_ready();
    ASSERT_TRUE(ready.has_value()) << ready.error().text();
    EXPECT_EQ(*ready, (std::vector<ReadyReport>{report, report}));
    monitor_.reset();
    for (net::DataLink& worker : workers_) {
        auto message = worker.receive(patient());
        while (message && message->type == frame_type(MessageType::ping)) {
            message = worker.receive(patient());
        }
        ASSERT_TRUE(message.has_value()) << message.error().text();
        EXPECT_EQ(message->type, frame_type(MessageType::stop));
    }
    EXPECT_EQ(failure_count_, 0);
}

TEST_F(MonitorTest, names_who_is_gone) {
    watch(3);
    workers_[1].close();
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::unavailable);
    EXPECT_THAT(error.message, StartsWith("rank 2 ("));
    EXPECT_THAT(error.message, Not(HasSubstr("rank 1 (")));
}

TEST_F(MonitorTest, names_who_is_silent) {
    watch(2);
    std::atomic<bool> is_over = false;
    std::thread first([&] {  // lives
        while (!is_over) {
            std::ignore = workers_[0].send(frame_type(MessageType::pong), {}, patient());
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
    });
    const Error error = failure();
    is_over = true;
    first.join();
    EXPECT_EQ(error.code, ErrorCode::unavailable);
    EXPECT_THAT(error.message, StartsWith("rank 2 ("));
    EXPECT_THAT(error.message, HasSubstr("silent for 900 ms"));
}

TEST_F(MonitorTest, names_who_is_gone_rather_than_who_noticed) {
    watch(2);
    says(0, {ErrorCode::unavailable, "rank 2 closed the link.", ""});
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    workers_[1].close();
    EXPECT_THAT(failure().message, StartsWith("rank 2 ("));
}

TEST_F(MonitorTest, gives_a_workers_own_words) {
    watch(2);
    says(0, {ErrorCode::unavailable, "rank 2 closed the link.", ""});
    says(1, {ErrorCode::not_found, "there is no file '/m.gguf'.", "Copy it there."});
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::not_found);
    EXPECT_THAT(error.message, StartsWith("rank 2 ("));
    EXPECT_THAT(error.message, HasSubstr("): there is no file '/m.gguf'."));
    EXPECT_EQ(error.hint, "Copy it there.");
}

TEST_F(MonitorTest, takes_no_garbage) {
    watch(1);
    says(0, MessageType::ready, std::vector<std::byte>(100, std::byte{'x'}));
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, HasSubstr("the worker's report is no JSON"));
}

TEST_F(MonitorTest, asks_who_may_know_more) {
    watch(2, [](std::size_t rank) {
        return "its process ended with exit code " + std::to_string(rank) + ".";
    });
    workers_[1].close();
    EXPECT_THAT(failure().message, HasSubstr("): its process ended with exit code 2."));
}

}  // namespace
}  // namespace exomesh::runner
