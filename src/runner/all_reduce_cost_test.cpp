#include "runner/all_reduce_cost.h"

#include <gtest/gtest.h>

#include <limits>

namespace exomesh::runner {
namespace {

using enum AllReduceMethod;

constexpr LinkFigures loopback{.latency_us = 5, .bytes_per_ms = 1'500'000};
constexpr LinkFigures gigabit{.latency_us = 40, .bytes_per_ms = 118'000};
constexpr LinkFigures wireless{.latency_us = 1500, .bytes_per_ms = 5'000};
constexpr std::size_t token = 2048;  // one sum of one token of a model of 1.1B
constexpr std::size_t chunk = 512 * 2048;

AllReduceMethod choose(std::size_t ranks, std::size_t values, const LinkFigures& link) {
    return choose_all_reduce(ranks, values, WireType::q8_0, link);
}

TEST(ChooseAllReduce, sends_everything_at_once_while_that_is_little) {
    for (const LinkFigures& link : {loopback, gigabit, wireless}) {
        EXPECT_EQ(choose(2, token, link), one_shot);
        EXPECT_EQ(choose(3, token, link), one_shot);
    }
    EXPECT_EQ(choose(4, token, gigabit), one_shot);
    EXPECT_EQ(choose(6, token, wireless), one_shot);
}

// Two ranks send each other the same bytes in one round or in two.
TEST(ChooseAllReduce, never_takes_two_rounds_for_two_ranks) {
    for (const LinkFigures& link : {loopback, gigabit, wireless})
        for (std::size_t values = 32; values <= chunk; values *= 2)
            EXPECT_EQ(choose(2, values, link), one_shot);
}

TEST(ChooseAllReduce, scatters_the_sums_of_prefill) {
    for (std::size_t ranks = 3; ranks <= 16; ++ranks)
        for (const LinkFigures& link : {gigabit, wireless})
            EXPECT_EQ(choose(ranks, chunk, link), scatter_gather);
}

TEST(ChooseAllReduce, scatters_over_slow_uplinks_when_ranks_are_many) {
    EXPECT_EQ(choose(16, token, {.latency_us = 100, .bytes_per_ms = 12'500}), scatter_gather);
}

TEST(ChooseAllReduce, doubles_where_messages_cost_more_than_the_way) {
    EXPECT_EQ(choose(8, token, loopback), recursive_doubling);
    EXPECT_NE(choose(7, token, loopback), recursive_doubling);
    EXPECT_NE(choose(8, token, wireless), recursive_doubling);
}

TEST(SettledFigures, are_no_measured_ones_within_one_machine) {
    for (const LinkFigures& busy : {loopback, gigabit, LinkFigures{1999, 1}, LinkFigures{1, 1}})
        EXPECT_EQ(settled_figures(busy, Nearness::one_machine), LinkFigures{});
    EXPECT_EQ(settled_figures({.latency_us = 9000, .bytes_per_ms = 900}, Nearness::one_machine),
              (LinkFigures{.latency_us = 20'000, .bytes_per_ms = 1200}))
        << "a tunnel";
}

TEST(SettledFigures, are_those_of_the_nearest_kind_of_network) {
    const auto settled = [](std::uint32_t latency_us, std::uint32_t bytes_per_ms) {
        return settled_figures({latency_us, bytes_per_ms}, Nearness::network);
    };
    for (const double noise : {0.5, 0.8, 1.0, 1.3, 2.0}) {
        const auto noisy = [noise](const LinkFigures& link) {
            return LinkFigures{static_cast<std::uint32_t>(link.latency_us * noise),
                               static_cast<std::uint32_t>(link.bytes_per_ms / noise)};
        };
        for (const LinkFigures& link : {gigabit, LinkFigures{1500, 12'000}}) {
            EXPECT_EQ(settled_figures(noisy(link), Nearness::network), link) << noise;
        }
    }
    EXPECT_EQ(settled(0, 0), (LinkFigures{40, 1200}));
    EXPECT_EQ(settled(1, std::numeric_limits<std::uint32_t>::max()), (LinkFigures{40, 1'200'000}));
    EXPECT_EQ(settled(1'000'000, 1), (LinkFigures{20'000, 1200}));
}

TEST(AllReduceCost, grows_with_everything_that_takes_time) {
    for (const AllReduceMethod method : {one_shot, scatter_gather, recursive_doubling}) {
        const auto time = [method](std::size_t ranks, std::size_t values, LinkFigures link) {
            return all_reduce_us(method, ranks, values, WireType::f16, link);
        };
        const double base = time(4, token, gigabit);
        EXPECT_GT(time(8, token, gigabit), base);
        EXPECT_GT(time(4, 2 * token, gigabit), base);
        EXPECT_GT(time(4, token, {.latency_us = 41, .bytes_per_ms = 118'000}), base);
        EXPECT_GT(time(4, token, {.latency_us = 40, .bytes_per_ms = 117'000}), base);
    }
}

// A model of 1.1B in Q4_0 over two ranks.
std::uint32_t overlap(const LinkFigures& link, std::size_t chunk_length = 512) {
    return choose_overlap_tokens({.rank_count = 2,
                                  .embedding_length = 2048,
                                  .chunk_length = chunk_length,
                                  .weight_bytes = 7'000'000,
                                  .link = link});
}

TEST(ChooseOverlap, wants_a_link_that_takes_longer_than_reading_weights_twice) {
    EXPECT_EQ(overlap(loopback), 0U);
    EXPECT_EQ(overlap(gigabit), 128U);
    EXPECT_EQ(overlap(wireless), 64U);
    EXPECT_EQ(overlap(wireless, 63), 0U) << "no chunk is that large";
}

TEST(ChooseOverlap, wants_more_tokens_of_a_faster_link) {
    EXPECT_EQ(overlap({.latency_us = 20, .bytes_per_ms = 500'000}), 512U);
}

}  // namespace
}  // namespace exomesh::runner
