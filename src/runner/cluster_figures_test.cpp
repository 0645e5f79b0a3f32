#include "runner/cluster_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace exomesh::runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StepFigures figures_of(std::uint32_t step, std::uint32_t compute_us,
                       std::uint32_t total_us = 1000) {
    return {.step = step,
            .total_us = total_us,
            .compute_us = compute_us,
            .sum_us = 7,
            .wait_us = 5,
            .sent_bytes = 100,
            .received_bytes = 200};
}

class ClusterFiguresTest : public ::testing::Test {
  protected:
    void tells(std::size_t rank, const StepFigures& figures) {
        const auto told = figures_.add(rank, figures);
        ASSERT_TRUE(told.has_value()) << told.error().text();
    }

    std::vector<std::uint32_t> steps_;
    std::vector<std::size_t> slowest_;
    ClusterFigures figures_{3, [this](const StepReport& report) {
                                steps_.push_back(report.step);
                                slowest_.push_back(report.slowest_rank());
                                EXPECT_EQ(report.ranks.size(), 3U);
                                EXPECT_EQ(report.names.size(), 3U);
                            }};
};

TEST(Quantiles, are_values_that_were_there) {
    EXPECT_EQ(quantiles_of({}), (Quantiles{0, 0}));
    EXPECT_EQ(quantiles_of({4}), (Quantiles{4, 4}));
    EXPECT_EQ(quantiles_of({9, 1}), (Quantiles{1, 9}));
    std::vector<std::uint32_t> values(1000);
    std::ranges::iota(values, 1);
    std::ranges::shuffle(values, std::mt19937(3));
    EXPECT_EQ(quantiles_of(values), (Quantiles{500, 990}));
}

TEST_F(ClusterFiguresTest, a_step_is_told_when_all_ranks_have_in_the_order_of_steps) {
    for (std::uint32_t step = 0; step < 3; ++step) figures_.begin_step(step, 1, false);
    tells(0, figures_of(0, 30));
    tells(0, figures_of(1, 30));
    tells(1, figures_of(0, 50));
    tells(1, figures_of(1, 10));
    EXPECT_THAT(steps_, ElementsAre());
    tells(2, figures_of(1, 20));  // before its step 0
    EXPECT_THAT(steps_, ElementsAre());
    tells(2, figures_of(0, 40));
    EXPECT_THAT(steps_, ElementsAre(0, 1));
    EXPECT_THAT(slowest_, ElementsAre(1, 0));
}

TEST_F(ClusterFiguresTest, an_idle_head_is_not_the_fastest) {
    figures_.set_names({{.is_idle = true}, {.device = "cpu"}, {.device = "cpu"}});
    figures_.begin_step(0, 1, false);
    tells(0, figures_of(0, 0));
    tells(1, figures_of(0, 50));
    tells(2, figures_of(0, 40));
    EXPECT_EQ(figures_.statistics().behind_us, (Quantiles{10, 10}));
}

TEST_F(ClusterFiguresTest, sums_up_decoding_and_prompts_apart) {
    for (std::uint32_t step = 0; step < 2; ++step) figures_.begin_step(step, 21, true);
    for (std::uint32_t step = 2; step <= 101; ++step) figures_.begin_step(step, 1, false);
    figures_.end_step(0, 3000);
    figures_.end_step(1, 2000);  // of 5000 in flight
    for (std::size_t rank = 0; rank < 3; ++rank) {
        tells(rank, figures_of(0, 800, 3000));
        tells(rank, figures_of(1, 800, 5000));
        for (std::uint32_t i = 1; i <= 100; ++i)
            tells(rank, figures_of(i + 1, i + 100 * static_cast<std::uint32_t>(rank), 10 * i));
    }
    figures_.set_names({{.device = "cpu"}, {.device = "vulkan0"}, {.device = "cpu"}});
    const ClusterStatistics statistics = figures_.statistics();
    EXPECT_EQ(statistics.prompt_step_count, 2U);
    EXPECT_EQ(statistics.prompt_token_count, 42U);
    EXPECT_EQ(statistics.prompt_us, 5000U);
    EXPECT_EQ(statistics.decode_step_count, 100U);
    EXPECT_EQ(statistics.step_us, (Quantiles{500, 990}));
    EXPECT_EQ(statistics.behind_us, (Quantiles{200, 200}));
    ASSERT_EQ(statistics.ranks.size(), 3U);
    EXPECT_EQ(statistics.ranks[1].name.device, "vulkan0");
    EXPECT_EQ(statistics.ranks[1].compute_us, (Quantiles{150, 199}));
    EXPECT_EQ(statistics.ranks[1].sum_us, (Quantiles{7, 7}));
    EXPECT_EQ(statistics.ranks[1].wait_us, (Quantiles{5, 5}));
    EXPECT_EQ(statistics.ranks[1].sent_bytes, 100);
    EXPECT_EQ(statistics.ranks[1].received_bytes, 200);
    EXPECT_EQ(statistics.ranks[0].slowest_count, 0U);
    EXPECT_EQ(statistics.ranks[2].slowest_count, 100U);
}

TEST_F(ClusterFiguresTest, refuses_steps_that_never_began_or_were_told_of) {
    const auto refuses = [&](std::size_t rank, std::uint32_t step) {
        const auto told = figures_.add(rank, figures_of(step, 1));
        ASSERT_FALSE(told.has_value());
        EXPECT_EQ(told.error().code, ErrorCode::corrupt_data);
        EXPECT_THAT(told.error().message, HasSubstr("step " + std::to_string(step)));
    };
    refuses(1, 0);
    figures_.begin_step(0, 1, false);
    refuses(1, 1);
    refuses(1, 0xffffffff);
    tells(1, figures_of(0, 1));
    refuses(1, 0);
    EXPECT_THAT(steps_, ElementsAre());
}

TEST_F(ClusterFiguresTest, gives_up_steps_that_nobody_tells_of) {
    for (std::uint32_t step = 0; step < steps_waiting_max + 5; ++step)
        figures_.begin_step(step, 1, false);
    for (std::size_t rank = 0; rank < 3; ++rank) {
        tells(rank, figures_of(4, 1));  // forgotten
        tells(rank, figures_of(5, 1));
    }
    EXPECT_THAT(steps_, ElementsAre(5));
}

TEST_F(ClusterFiguresTest, quantiles_are_over_the_most_recent_steps) {
    for (std::uint32_t step = 0; step < 2 * decode_steps_kept_max; ++step) {
        figures_.begin_step(step, 1, false);
        const std::uint32_t total_us = step < decode_steps_kept_max ? 900 : 100;
        for (std::size_t rank = 0; rank < 3; ++rank) tells(rank, figures_of(step, 1, total_us));
    }
    EXPECT_EQ(figures_.statistics().step_us, (Quantiles{100, 100}));
    EXPECT_EQ(figures_.statistics().decode_step_count, 2 * decode_steps_kept_max);
}

}  // namespace
}  // namespace exomesh::runner
