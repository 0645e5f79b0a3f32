// The head's watch, with the test as its workers.
#include "runner/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "runner/worker.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using net::testing::Transport;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class MonitorTest : public ::testing::Test {
  protected:
    void watch(std::size_t count, std::function<std::string(std::size_t)> explain_loss = {},
               Watch recorded = {}) {
        std::vector<net::DataLink> controls;
        for (std::size_t i = 0; i < count; ++i) {
            auto [head, worker] = net::testing::make_pair(Transport::local);
            controls.push_back(std::move(head));
            workers_.push_back(std::move(worker));
        }
        monitor_.emplace(
            std::move(controls), [this] { ++failure_count_; }, std::move(explain_loss),
            std::move(recorded));
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

TEST_F(MonitorTest, tells_how_far_loading_is) {
    watch(2);
    const auto says_progress = [&](std::size_t worker, float progress) {
        says(worker, MessageType::progress, std::as_bytes(std::span(&progress, 1)));
    };
    std::vector<double> heard;
    const std::jthread loading([&] {
        says_progress(0, 0.5F);
        says_progress(1, std::numeric_limits<float>::quiet_NaN());  // is none
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        says_progress(1, 7);  // counts as all
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        for (std::size_t i = 0; i < 2; ++i) {
            says(i, MessageType::ready, encode_ready_report({.device = "cpu"}));
        }
    });
    const auto ready =
        monitor_->wait_until_ready([&](double progress) { heard.push_back(progress); });
    ASSERT_TRUE(ready.has_value()) << ready.error().text();
    EXPECT_EQ(heard, (std::vector<double>{0.25, 0.75}));
}

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
        while (message && message->type != frame_type(MessageType::stop)) {
            message = worker.receive(patient());
        }
        ASSERT_TRUE(message.has_value()) << message.error().text();
        EXPECT_EQ(message->type, frame_type(MessageType::stop));
    }
    EXPECT_EQ(failure_count_, 0);
}

TEST_F(MonitorTest, lets_all_dial_once_all_have_answered) {
    watch(2);
    const auto is_told = [](net::DataLink& worker, net::Deadline deadline) {
        auto message = worker.receive(deadline);
        while (message && message->type == frame_type(MessageType::ping)) {
            message = worker.receive(deadline);
        }
        return message && message->type == frame_type(MessageType::dial);
    };
    says(0, MessageType::progress, {});
    EXPECT_FALSE(is_told(workers_[0], net::Deadline::after_ms(300)));
    says(1, MessageType::progress, {});
    EXPECT_TRUE(is_told(workers_[0], patient()));
    EXPECT_TRUE(is_told(workers_[1], patient()));
    EXPECT_TRUE(monitor_->wait_until_dialling().has_value());
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
    EXPECT_THAT(error.message, HasSubstr("silent for 800 ms"));
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

// A worker that answers as one does, but whose clock is ahead of the head's, and who is far away.
class RecordingWorker {
  public:
    RecordingWorker(net::DataLink& control, std::uint64_t ahead_ns, std::uint64_t answer_after_ms)
        : control_(&control),
          ahead_ns_(ahead_ns),
          answer_after_(answer_after_ms),
          thread_([this] { run(); }) {}
    RecordingWorker(const RecordingWorker&) = delete;
    RecordingWorker& operator=(const RecordingWorker&) = delete;
    ~RecordingWorker() { thread_.join(); }
    [[nodiscard]] std::uint32_t asked_step_count() const { return asked_step_count_; }

  private:
    void run() {
        says(MessageType::ready, encode_ready_report({.device = "cpu"}));
        const StepFigures figures{.step = 0, .total_us = 9, .compute_us = 8};
        says(MessageType::figures, encode_figures({&figures, 1}));
        while (true) {
            const auto message = control_->receive(patient());
            if (!message || message->type == frame_type(MessageType::stop)) return;
            if (message->type == frame_type(MessageType::clock_request)) {
                std::this_thread::sleep_for(answer_after_);
                const std::uint64_t now_ns = platform::monotonic_ns() + ahead_ns_;
                says(MessageType::clock_answer,
                     encode_clock_answer(
                         {.request_sent_ns = decode_clock_request(message->payload).value_or(0),
                          .request_received_ns = now_ns,
                          .answer_sent_ns = platform::monotonic_ns() + ahead_ns_}));
            }
            if (message->type != frame_type(MessageType::take_recorded)) continue;
            asked_step_count_ = decode_take_recorded(message->payload).value_or(0);
            SpanReport report{.dropped_count = 1, .is_last = false, .spans = {{.begin_ns = 1}}};
            report.spans[0].end_ns = 2;
            says(MessageType::span_report, encode_span_report(report));
            report.dropped_count = 3;
            report.is_last = true;
            says(MessageType::span_report, encode_span_report(report));
        }
    }
    void says(MessageType type, std::span<const std::byte> payload) {
        EXPECT_TRUE(control_->send(frame_type(type), {payload}, patient()).has_value());
    }

    net::DataLink* control_;
    std::uint64_t ahead_ns_;
    std::chrono::milliseconds answer_after_;
    std::atomic<std::uint32_t> asked_step_count_ = 0;
    std::thread thread_;
};

TEST_F(MonitorTest, collects_what_workers_recorded) {
    std::atomic<int> told_count = 0;
    watch(2, {},
          {.recording = Recording::spans,
           .on_figures = [&](std::size_t rank, std::span<const StepFigures> figures) {
               if (figures.size() == 1 && figures[0].compute_us == 8)
                   told_count += rank == 1 ? 1 : 10;
               return Result<void>();
           }});
    constexpr std::uint64_t ahead_ns = 5'000'000'000;
    RecordingWorker first(workers_[0], 0, 0);
    RecordingWorker second(workers_[1], ahead_ns, 60);  // longer than the head waits in one go
    ASSERT_TRUE(monitor_->wait_until_ready().has_value());
    const auto recorded = monitor_->collect(77);
    const std::uint64_t now_ns = platform::monotonic_ns();
    monitor_.reset();
    EXPECT_EQ(told_count, 11);
    EXPECT_EQ(first.asked_step_count(), 77U);
    ASSERT_EQ(recorded.size(), 2U);
    for (const RecordedSpans& worker : recorded) {
        EXPECT_TRUE(worker.is_complete);
        EXPECT_EQ(worker.dropped_count, 3U);
        ASSERT_EQ(worker.spans.size(), 2U);
        EXPECT_EQ(worker.spans[1].end_ns, 2U);
    }
    const ClockAlignment& clock = recorded[1].clock;
    // Half of a round trip without other requests before it.
    EXPECT_LT(clock.uncertainty_ns(now_ns + ahead_ns), 120e6);
    EXPECT_NEAR(clock.to_own_ns(now_ns + ahead_ns), static_cast<double>(now_ns),
                clock.uncertainty_ns(now_ns + ahead_ns));
    EXPECT_EQ(failure_count_, 0);
}

TEST_F(MonitorTest, takes_no_garbage_for_figures) {
    watch(1, {}, {.recording = Recording::figures});
    says(0, MessageType::figures, std::vector<std::byte>(27));
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, HasSubstr("figures are cut off"));
}

TEST_F(MonitorTest, fails_who_tells_what_cannot_be) {
    watch(1, {},
          {.recording = Recording::figures,
           .on_figures = [](std::size_t rank, std::span<const StepFigures>) -> Result<void> {
               return fail(ErrorCode::corrupt_data, "never: " + std::to_string(rank));
           }});
    says(0, MessageType::figures, encode_figures({}));
    EXPECT_THAT(failure().message, HasSubstr("never: 1"));
}

TEST_F(MonitorTest, collects_nothing_from_who_is_gone) {
    watch(2, {}, {.recording = Recording::spans});
    workers_[1].close();
    EXPECT_FALSE(monitor_->wait_until_ready().has_value());
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto recorded = monitor_->collect(1);
    EXPECT_LT(platform::monotonic_us() - begin_us, 5'000'000U);
    ASSERT_EQ(recorded.size(), 2U);
    EXPECT_FALSE(recorded[0].is_complete);
}

TEST_F(MonitorTest, is_not_kept_by_who_never_stops_talking) {
    // It talks faster than the head listens.
    watch(2, {}, {.recording = Recording::figures, .on_figures = [](std::size_t, const auto&) {
                      std::this_thread::sleep_for(std::chrono::milliseconds(1));
                      return Result<void>();
                  }});
    std::thread talker([&] {
        const auto figures = encode_figures({});
        while (workers_[0].send(frame_type(MessageType::figures), {figures}, patient())) {
        }
    });
    std::uint32_t ping_count = 0;
    const auto deadline = net::Deadline::after_ms(silence_ms_max - heartbeat_ms);
    while (!deadline.passed()) {
        const auto message = workers_[1].receive(deadline);
        if (message && message->type == frame_type(MessageType::ping)) ++ping_count;
        if (message) says(1, MessageType::progress, {});
    }
    EXPECT_GE(ping_count, 2U);
    const std::uint64_t begin_us = platform::monotonic_us();
    monitor_.reset();
    EXPECT_LT(platform::monotonic_us() - begin_us, 1'000'000U);
    talker.join();
    EXPECT_EQ(failure_count_, 0);
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
