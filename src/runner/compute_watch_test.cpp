#include "runner/compute_watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "platform/clock.h"

namespace exomesh::runner {
namespace {

constexpr std::uint64_t ms = 1'000'000;
constexpr std::uint64_t s = 1000 * ms;

// A clock by hand, and who looks five times a second.
class ComputeWatchTest : public ::testing::Test {
  protected:
    // Computes; whether it was found overdue meanwhile.
    bool passes(std::uint64_t time_ns) {
        bool is_overdue = false;
        for (const std::uint64_t end_ns = now_ns_ + time_ns; now_ns_ < end_ns;) {
            now_ns_ += std::min(end_ns - now_ns_, 200 * ms);
            if (const auto overdue_ns = watch_.overdue_ns(now_ns_, faults_)) {
                is_overdue = true;
                overdue_ns_ = *overdue_ns;
            }
        }
        return is_overdue;
    }
    void begin(std::size_t token_count = 1, std::size_t end_position = 100) {
        watch_.begin_step(token_count, end_position, now_ns_);
    }
    void end() { watch_.end_step(now_ns_); }
    // Steps of one segment each.
    void step(std::uint64_t time_ns, std::size_t token_count = 1, std::size_t end_position = 100) {
        begin(token_count, end_position);
        EXPECT_FALSE(passes(time_ns));
        end();
    }
    void wait_for_others(std::uint64_t time_ns) {
        ASSERT_TRUE(watch_.pause(now_ns_));
        EXPECT_FALSE(passes(time_ns));
        watch_.resume(now_ns_);
    }

    ComputeWatch watch_;
    std::uint64_t now_ns_ = 1000 * s;
    std::uint64_t faults_ = 0;
    std::uint64_t overdue_ns_ = 0;
};

TEST_F(ComputeWatchTest, finds_a_hang_within_a_second) {
    step(5 * ms);
    begin();
    EXPECT_FALSE(passes(700 * ms));
    EXPECT_TRUE(passes(250 * ms));
    EXPECT_GT(overdue_ns_, 700 * ms);
    EXPECT_LE(overdue_ns_, 950 * ms);
}

TEST_F(ComputeWatchTest, counts_no_wait_for_others_and_no_time_between_steps) {
    step(5 * ms);
    begin();
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(passes(300 * ms));
        wait_for_others(60 * s);
    }
    EXPECT_FALSE(passes(300 * ms));
    end();
    EXPECT_FALSE(passes(3600 * s));
}

TEST_F(ComputeWatchTest, finds_a_hang_behind_a_wait) {
    step(5 * ms);
    begin();
    wait_for_others(60 * s);
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, knows_of_no_segment_outside_of_a_step) {
    EXPECT_FALSE(watch_.pause(now_ns_));
    step(5 * ms);
    EXPECT_FALSE(watch_.pause(now_ns_));
    EXPECT_FALSE(passes(3600 * s));
}

TEST_F(ComputeWatchTest, lets_a_first_step_of_its_kind_take_as_long_as_any) {
    step(590 * s, 512);  // a prompt
    step(590 * s, 1);    // other shaders
    step(590 * s, 2);
    step(590 * s, 1, 5000);  // further on
    begin(1024);
    EXPECT_TRUE(passes(610 * s));
}

TEST_F(ComputeWatchTest, lets_no_step_wait_for_one_of_another_kind) {
    step(30 * s, 512);
    step(5 * ms, 1);
    begin(1);
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, bears_ten_times_the_slowest_segment) {
    step(400 * ms, 100);
    step(4600 * ms, 120);
    begin(100);
    EXPECT_FALSE(passes(46 * s));
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, forgets_a_slow_step_with_those_that_follow) {
    step(60 * s);  // shaders were compiled
    for (int i = 0; i < 30; ++i) step(5 * ms);
    begin();
    EXPECT_TRUE(passes(s));
}

// The head of a model takes longer than each of its layers.
TEST_F(ComputeWatchTest, forgets_no_slow_segment_for_the_fast_ones_of_a_step) {
    for (int i = 0; i < 3; ++i) {
        begin();
        for (int layer = 0; layer < 60; ++layer) {
            EXPECT_FALSE(passes(ms));
            wait_for_others(ms);
        }
        EXPECT_FALSE(passes(i == 2 ? 5000 * ms : 500 * ms)) << i;
        end();
    }
}

TEST_F(ComputeWatchTest, takes_weights_that_come_from_disk_for_progress) {
    step(5 * ms);
    begin();
    for (int i = 0; i < 20; ++i) {
        EXPECT_FALSE(passes(600 * ms));
        ++faults_;
    }
    EXPECT_TRUE(passes(1200 * ms));
}

TEST_F(ComputeWatchTest, lets_an_idle_device_wake_up) {
    step(5 * ms);
    now_ns_ += 3 * s;
    begin();
    EXPECT_FALSE(passes(5 * s));
    wait_for_others(ms);
    EXPECT_TRUE(passes(s)) << "it is awake";
    end();
}

// The process was stopped, or the machine asleep.
TEST_F(ComputeWatchTest, counts_no_time_in_which_nobody_could_look) {
    step(5 * ms);
    begin();
    EXPECT_FALSE(passes(200 * ms));
    now_ns_ += 3600 * s;
    EXPECT_FALSE(passes(100 * ms));
    EXPECT_TRUE(passes(200 * ms));
}

TEST(ComputePause, is_nothing_without_a_watch_or_a_step) {
    {
        const ComputePause pause(nullptr);
    }
    {
        const ComputeScope scope(nullptr, 1, 1);
    }
    ComputeWatch watch;
    {
        const ComputePause pause(&watch);
    }
    EXPECT_FALSE(watch.pause(platform::monotonic_ns())) << "it resumed what did not run";
    {
        const ComputeScope scope(&watch, 1, 1);
        {
            const ComputePause pause(&watch);
        }
        EXPECT_TRUE(watch.pause(platform::monotonic_ns())) << "it did not resume";
        watch.resume(platform::monotonic_ns());
    }
    EXPECT_FALSE(watch.pause(platform::monotonic_ns()));
}

}  // namespace
}  // namespace exomesh::runner
