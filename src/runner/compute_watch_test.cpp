#include "runner/compute_watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

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
            const std::uint64_t look_ns = std::min(end_ns - now_ns_, 200 * ms);
            now_ns_ += look_ns;
            cpu_ns_ += look_ns * cpu_permille_ / 1000;
            if (const auto overdue_ns = watch_.overdue_ns(now_ns_, faults_, cpu_ns_)) {
                is_overdue = true;
                overdue_ns_ = *overdue_ns;
            }
        }
        return is_overdue;
    }
    void begin(const StepExtent& extent = decoding) { watch_.begin_step(extent, now_ns_); }
    void end() { watch_.end_step(now_ns_); }
    // Steps of one segment each.
    void step(std::uint64_t time_ns, const StepExtent& extent = decoding) {
        begin(extent);
        EXPECT_FALSE(passes(time_ns));
        end();
    }
    // So many that their kind is known.
    void settle(std::uint64_t time_ns = 5 * ms, const StepExtent& extent = decoding) {
        for (std::uint32_t i = 0; i <= ComputeWatch::settling_count; ++i) step(time_ns, extent);
    }
    // Whether a step like this may take as long as the first of its kind.
    bool is_new(const StepExtent& extent) {
        begin(extent);
        const bool is_overdue = passes(590 * s);
        end();
        return !is_overdue;
    }
    void wait_for_others(std::uint64_t time_ns) {
        ASSERT_TRUE(watch_.pause(now_ns_));
        EXPECT_FALSE(passes(time_ns));
        watch_.resume(now_ns_);
    }

    static constexpr StepExtent decoding = {.token_count = 1, .position = 100, .has_output = true};

    ComputeWatch watch_;
    std::uint64_t now_ns_ = 1000 * s;
    std::uint64_t faults_ = 0;
    std::uint64_t cpu_ns_ = 0;
    std::uint64_t cpu_permille_ = 0;  // of the time that passes
    std::uint64_t overdue_ns_ = 0;
};

TEST_F(ComputeWatchTest, finds_a_hang_within_a_second) {
    settle();
    begin();
    EXPECT_FALSE(passes(800 * ms));
    EXPECT_TRUE(passes(200 * ms));
    EXPECT_GT(overdue_ns_, 800 * ms);
    EXPECT_LE(overdue_ns_, 1000 * ms);
}

TEST_F(ComputeWatchTest, counts_no_wait_for_others_and_no_time_between_steps) {
    settle();
    begin();
    for (int i = 0; i < 4; ++i) {
        EXPECT_FALSE(passes(300 * ms));
        wait_for_others(1500 * ms);
    }
    wait_for_others(60 * s);
    EXPECT_FALSE(passes(300 * ms));
    end();
    EXPECT_FALSE(passes(3600 * s));
}

TEST_F(ComputeWatchTest, finds_a_hang_behind_a_wait) {
    settle();
    begin();
    wait_for_others(1500 * ms);
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, knows_of_no_segment_outside_of_a_step) {
    EXPECT_FALSE(watch_.pause(now_ns_));
    step(5 * ms);
    EXPECT_FALSE(watch_.pause(now_ns_));
    EXPECT_FALSE(passes(3600 * s));
}

TEST_F(ComputeWatchTest, lets_a_first_step_of_its_kind_take_ten_minutes) {
    step(590 * s, {.token_count = 512});
    begin({.token_count = 1024});
    EXPECT_TRUE(passes(610 * s));
}

// Drivers compile shaders for each number of tokens up to 8, and for tiles beyond 32 and 64.
TEST_F(ComputeWatchTest, tells_numbers_of_tokens_apart_for_which_drivers_compile) {
    std::size_t last_count = 0;
    for (const std::size_t first_count : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 17U, 33U, 65U}) {
        EXPECT_TRUE(is_new({.token_count = first_count})) << first_count;
        settle(5 * ms, {.token_count = first_count});
        last_count = std::max(2 * (first_count - 1), first_count);
        if (first_count > 8) {
            EXPECT_FALSE(is_new({.token_count = last_count})) << last_count;
        }
    }
    EXPECT_TRUE(is_new({.token_count = last_count + 1}));
    EXPECT_TRUE(is_new({.token_count = 1U << 31})) << "as many as any";
}

TEST_F(ComputeWatchTest, tells_positions_apart) {
    settle(5 * ms, {.token_count = 1, .position = 300});
    EXPECT_TRUE(is_new({.token_count = 1, .position = 200}));
    EXPECT_TRUE(is_new({.token_count = 1, .position = 5000}));
    EXPECT_FALSE(is_new({.token_count = 1, .position = 500}));
}

// The vocabulary's matrix is larger than any other, and has shaders of its own.
TEST_F(ComputeWatchTest, tells_steps_with_output_from_those_without) {
    settle(5 * ms, {.token_count = 512, .has_output = false});
    EXPECT_TRUE(is_new({.token_count = 512, .has_output = true}));
}

TEST_F(ComputeWatchTest, lets_no_step_wait_for_one_of_another_kind) {
    settle(9 * s, {.token_count = 512});
    settle();
    begin();
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, does_not_take_the_first_step_for_the_slowest) {
    step(300 * s);  // shaders were compiled
    for (std::uint32_t i = 0; i < ComputeWatch::settling_count; ++i) step(5 * ms);
    begin();
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, lets_a_few_more_steps_take_seconds) {
    for (std::uint32_t i = 0; i < ComputeWatch::settling_count; ++i) step(5 * ms);
    step(9900 * ms);  // the last of them: a variant was compiled
    const StepExtent other = {.token_count = 2};
    step(5 * ms, other);
    begin(other);
    EXPECT_FALSE(passes(10 * s));
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, bears_twenty_times_the_slowest_segment) {
    settle(400 * ms);
    step(8600 * ms);
    begin();
    EXPECT_FALSE(passes(172 * s));
    EXPECT_TRUE(passes(s));
}

TEST_F(ComputeWatchTest, forgets_a_slow_step_little_by_little) {
    settle(s);
    for (int i = 0; i < 10; ++i) step(5 * ms);
    step(10 * s);  // more than half of twenty times
    for (int i = 0; i < 150; ++i) step(5 * ms);
    begin();
    EXPECT_TRUE(passes(1200 * ms));
}

// The head of a model takes longer than each of its layers.
TEST_F(ComputeWatchTest, forgets_no_slow_segment_for_the_fast_ones_of_a_step) {
    const auto step_of_layers = [&](std::uint64_t head_ns) {
        begin();
        for (int layer = 0; layer < 60; ++layer) {
            EXPECT_FALSE(passes(ms));
            wait_for_others(ms);
        }
        EXPECT_FALSE(passes(head_ns));
        end();
    };
    for (int i = 0; i < 10; ++i) step_of_layers(500 * ms);
    step_of_layers(10 * s);
}

TEST_F(ComputeWatchTest, takes_weights_that_come_from_disk_for_progress) {
    settle();
    begin();
    for (int i = 0; i < 20; ++i) {
        EXPECT_FALSE(passes(600 * ms));
        ++faults_;
    }
    EXPECT_TRUE(passes(1200 * ms));
}

// A busy machine leaves it little.
TEST_F(ComputeWatchTest, takes_the_time_that_a_cpu_computes_for_progress) {
    settle();
    begin();
    cpu_permille_ = 40;
    EXPECT_FALSE(passes(60 * s));
    cpu_permille_ = 0;
    EXPECT_TRUE(passes(1200 * ms));
}

// The threads that talk to the head go on when the one that computes hangs.
TEST_F(ComputeWatchTest, takes_no_talk_with_the_head_for_progress) {
    cpu_permille_ = 10;
    settle();
    begin();
    EXPECT_TRUE(passes(s));
    end();
    settle(5 * s, {.token_count = 512});
    begin({.token_count = 512});
    EXPECT_FALSE(passes(100 * s));
    EXPECT_TRUE(passes(s)) << "it adds up";
}

TEST_F(ComputeWatchTest, lets_an_idle_device_wake_up) {
    settle();
    now_ns_ += 3 * s;
    begin();
    EXPECT_FALSE(passes(5 * s));
    wait_for_others(ms);
    EXPECT_TRUE(passes(s)) << "it is awake";
    end();
}

// Another rank compiles, say.
TEST_F(ComputeWatchTest, lets_a_device_wake_up_that_waited_for_others) {
    settle();
    begin();
    wait_for_others(3 * s);
    EXPECT_FALSE(passes(5 * s));
    EXPECT_TRUE(passes(s));
}

// The process was stopped, or the machine asleep.
TEST_F(ComputeWatchTest, counts_no_time_in_which_nobody_could_look) {
    settle(ms);
    begin();
    EXPECT_FALSE(passes(200 * ms));
    now_ns_ += 3600 * s;
    EXPECT_FALSE(passes(100 * ms));
    EXPECT_TRUE(passes(200 * ms));
}

TEST(StepExtent, has_the_mean_position_of_tokens) {
    const std::vector<model::TokenId> tokens(300);
    std::vector<engine::SlotTokens> batch = {{.first_position = 0,
                                              .tokens = std::span(tokens).first(300),
                                              .outputs = engine::OutputRows::none},
                                             {.slot = 1,
                                              .first_position = 9999,
                                              .tokens = std::span(tokens).first(1),
                                              .outputs = engine::OutputRows::none}};
    const StepExtent extent = extent_of(batch);
    EXPECT_EQ(extent.token_count, 301U);
    EXPECT_EQ(extent.position, (300U * 300U + 10'000U) / 301U);
    EXPECT_FALSE(extent.has_output);
    batch[1].outputs = engine::OutputRows::last;
    EXPECT_TRUE(extent_of(batch).has_output);
    EXPECT_EQ(extent_of({}).position, 0U);
}

TEST(ComputePause, is_nothing_without_a_watch_or_a_step) {
    {
        const ComputePause pause(nullptr);
    }
    {
        const ComputeScope scope(nullptr, {.token_count = 1});
    }
    ComputeWatch watch;
    {
        const ComputePause pause(&watch);
    }
    EXPECT_FALSE(watch.pause(platform::monotonic_ns())) << "it resumed what did not run";
    {
        const ComputeScope scope(&watch, {.token_count = 1});
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
