#include "placement/choose_split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace exomesh::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::size_t layer_count = 24;

// 1 GB: a layer has 40 MB, the output 40 MB.
ModelCost one_gigabyte() {
    const auto part = [](double bytes) {
        return PartCost{.size_bytes = bytes, .read_bytes = bytes, .weights_read = 2 * bytes};
    };
    PartCost attention = part(10e6);
    attention.position_bytes = 1000;
    return {.attention = std::vector(layer_count, attention),
            .feed_forward = std::vector(layer_count, part(30e6)),
            .output = part(40e6),
            .embedding_bytes = 40e6,
            .embedding_length = 2048};
}

CandidateRank rank(const std::string& name, double gigabytes_per_s, double memory_bytes = 64e9) {
    return {.name = name,
            .device = {.read_bytes_per_s = gigabytes_per_s * 1e9, .flops_per_s = 1e12},
            .memory_bytes = memory_bytes,
            .processor = ""};
}

SplitChoice choose(const std::vector<CandidateRank>& ranks, double latency_us,
                   const Workload& workload = {}) {
    const std::vector<LinkFigures> links(ranks.size() * ranks.size(),
                                         {.latency_us = latency_us, .bytes_per_s = 1e9});
    return choose_split(one_gigabyte(), ranks, links, workload);
}

TEST(ChooseSplit, keeps_one_process_where_nobody_else_is) {
    const SplitChoice choice = choose({rank("head", 20)}, 10);
    EXPECT_EQ(choice.kind, ChosenKind::one_process);
    EXPECT_THAT(choice.ranks, ElementsAre(0));
    EXPECT_NEAR(choice.tokens_per_s, 20, 0.1);
    EXPECT_TRUE(choice.alternatives.empty());
}

TEST(ChooseSplit, takes_a_tensor_group_over_fast_links_by_speed) {
    const SplitChoice choice = choose({rank("head", 30), rank("other", 10)}, 20);
    EXPECT_EQ(choice.kind, ChosenKind::tensor);
    EXPECT_THAT(choice.ranks, ElementsAre(0, 1));
    EXPECT_NEAR(choice.shares[0], 0.75, 1e-9);
    EXPECT_GT(choice.tokens_per_s, 33);
    EXPECT_LT(choice.tokens_per_s, 40);
    EXPECT_THAT(choice_text(choice), HasSubstr("tensor 0.75/0.25, predicted 3"));
    EXPECT_THAT(choice_text(choice), HasSubstr("one process 30.0"));
}

// Of three KV heads one of two equal ranks gets two, and the other one waits for it.
TEST(ChooseSplit, predicts_what_whole_heads_allow) {
    ModelCost model = one_gigabyte();
    const std::vector<CandidateRank> ranks = {rank("head", 30), rank("other", 30)};
    const std::vector<LinkFigures> links(4, {.latency_us = 1, .bytes_per_s = 1e12});
    const double evenly = choose_split(model, ranks, links, {}).tokens_per_s;
    model.units.attention = 3;
    const SplitChoice choice = choose_split(model, ranks, links, {});
    EXPECT_EQ(choice.kind, ChosenKind::tensor);
    EXPECT_THAT(choice.shares, ElementsAre(0.5, 0.5));
    // 240 MB of attention in the 1 GB that both read.
    const double slower_s = 240e6 * (2.0 / 3 - 1.0 / 2) / 30e9;
    EXPECT_NEAR(1 / choice.tokens_per_s - 1 / evenly, slower_s, 1e-5);
}

TEST(ChooseSplit, counts_the_bytes_of_the_wire) {
    const std::vector<CandidateRank> ranks = {rank("head", 30), rank("other", 30)};
    const std::vector<LinkFigures> links(4, {.latency_us = 10, .bytes_per_s = 1e8});
    const auto with = [&](double bytes_per_value) {
        return choose_split(one_gigabyte(), ranks, links, {}, bytes_per_value);
    };
    EXPECT_EQ(with(1).kind, ChosenKind::tensor);
    EXPECT_LT(with(2).tokens_per_s, 0.99 * with(1).tokens_per_s);
    EXPECT_EQ(with(100).kind, ChosenKind::one_process);
}

TEST(ChooseSplit, leaves_a_rank_behind_a_slow_link_out_by_name) {
    const SplitChoice choice = choose({rank("head", 30), rank("rank 1 (far)", 30)}, 5000);
    EXPECT_EQ(choice.kind, ChosenKind::one_process);
    EXPECT_THAT(choice.left_out, ElementsAre("rank 1 (far) would only slow it down"));
    EXPECT_THAT(choice_text(choice), HasSubstr("rank 1 (far) would only slow it down]"));
}

TEST(ChooseSplit, sends_a_token_through_a_far_but_much_faster_device) {
    const SplitChoice choice = choose({rank("phone", 5), rank("workstation", 500)}, 5000);
    EXPECT_EQ(choice.kind, ChosenKind::pipeline);
    EXPECT_NEAR(choice.shares[0], 1.0 / layer_count, 1e-9);  // the head has the one layer it must
}

TEST(ChooseSplit, cuts_what_fits_nowhere_else) {
    const SplitChoice choice = choose({rank("head", 30, 0.6e9), rank("other", 30, 0.6e9)}, 20'000);
    EXPECT_EQ(choice.kind, ChosenKind::pipeline);
    EXPECT_TRUE(choice.fits);
    EXPECT_FALSE(choose({rank("head", 30, 0.1e9), rank("other", 30, 0.1e9)}, 20).fits);
}

// 24 kB of cache a position: what holds the weights alone need not hold them with it.
TEST(ChooseSplit, makes_room_for_the_cache_and_for_computing) {
    const std::vector<CandidateRank> ranks = {rank("head", 30, 1.3e9), rank("far", 30, 1.3e9)};
    EXPECT_EQ(choose(ranks, 20'000).kind, ChosenKind::one_process);
    const auto with = [&](double positions, double compute_bytes) {
        return choose(ranks, 20'000,
                      {.cache_positions = positions, .compute_bytes = compute_bytes});
    };
    EXPECT_EQ(with(5'000, 0).kind, ChosenKind::one_process);
    const SplitChoice cached = with(20'000, 0);
    EXPECT_EQ(cached.kind, ChosenKind::pipeline);
    EXPECT_TRUE(cached.fits);
    EXPECT_EQ(with(0, 0.4e9).kind, ChosenKind::pipeline);
    // Every rank needs its buffers, and a layer more for one is a layer less for the other.
    EXPECT_TRUE(with(20'000, 0.4e9).fits);
    EXPECT_FALSE(with(20'000, 0.8e9).fits);
    EXPECT_THAT(choice_text(with(80'000, 0)), HasSubstr("; more than the memories hold"));
}

TEST(ChooseSplit, gives_a_fast_device_no_more_cache_than_it_holds) {
    const std::vector<CandidateRank> ranks = {rank("phone", 5), rank("workstation", 500, 1.3e9)};
    const SplitChoice choice = choose(ranks, 5000, {.cache_positions = 40'000});
    EXPECT_EQ(choice.kind, ChosenKind::pipeline);
    EXPECT_TRUE(choice.fits);
    // 40 MB of weights and 40 MB of cache a layer: 15 beside the output.
    EXPECT_NEAR(choice.shares[1], 15.0 / layer_count, 1e-9);
}

TEST(ChooseSplit, does_not_share_one_processor) {
    std::vector<CandidateRank> ranks = {rank("rank 0", 30), rank("rank 1", 30), rank("gpu", 30)};
    ranks[0].processor = ranks[1].processor = "this one";
    const SplitChoice choice = choose(ranks, 10);
    EXPECT_THAT(choice.ranks, ElementsAre(0, 2));
    EXPECT_THAT(choice.left_out, ElementsAre("rank 1 computes on the processor of rank 0"));
}

// Two processes of one machine do not hold more than one of them.
TEST(ChooseSplit, does_not_count_the_memory_of_one_machine_twice) {
    std::vector<CandidateRank> ranks = {rank("rank 0", 30, 0.6e9), rank("rank 1", 30, 0.6e9)};
    EXPECT_EQ(choose(ranks, 10).kind, ChosenKind::tensor);
    ranks[0].processor = ranks[1].processor = "this one";
    const SplitChoice choice = choose(ranks, 10);
    EXPECT_EQ(choice.kind, ChosenKind::one_process);
    EXPECT_FALSE(choice.fits);
}

TEST(ChooseSplit, makes_stages_of_groups_where_pairs_are_near_each_other) {
    std::vector<CandidateRank> ranks;
    for (int i = 0; i < 4; ++i) ranks.push_back(rank("r" + std::to_string(i), 10, 0.35e9));
    std::vector<LinkFigures> links(16, {.latency_us = 3000, .bytes_per_s = 1e9});
    for (const std::size_t pair : {0 * 4 + 1, 1 * 4 + 0, 2 * 4 + 3, 3 * 4 + 2}) {
        links[pair].latency_us = 10;
    }
    const SplitChoice choice = choose_split(one_gigabyte(), ranks, links, {});
    EXPECT_EQ(choice.kind, ChosenKind::hybrid);
    EXPECT_EQ(choice.stage_count, 2U);
    EXPECT_THAT(choice_name(choice), HasSubstr("2x2 0.25/0.25/0.25/0.25"));
}

// Whatever the devices and links: no split is chosen that one process beats.
TEST(ChooseSplit, is_never_slower_than_one_process) {
    std::mt19937 random(7);  // NOLINT: the same ones each time
    std::uniform_real_distribution<double> speed(1, 100), exponent(0, 4);
    for (int round = 0; round < 200; ++round) {
        std::vector<CandidateRank> ranks;
        for (int i = 0; i < 1 + round % 5; ++i) {
            ranks.push_back(rank("r" + std::to_string(i), speed(random)));
        }
        std::vector<LinkFigures> links;
        for (std::size_t i = 0; i < ranks.size() * ranks.size(); ++i) {
            links.push_back({.latency_us = std::pow(10, exponent(random)), .bytes_per_s = 1e8});
        }
        const SplitChoice alone = choose({ranks[0]}, 0);
        const SplitChoice choice = choose_split(one_gigabyte(), ranks, links, {});
        EXPECT_GE(choice.tokens_per_s, alone.tokens_per_s * 0.9999);
        double sum = 0;
        for (const double share : choice.shares) sum += share;
        EXPECT_NEAR(sum, 1, 1e-9);
        EXPECT_EQ(choice.ranks.front(), 0U);
        EXPECT_EQ(choice.ranks.size() + choice.left_out.size(), ranks.size());
    }
}

TEST(ChooseSplit, looks_at_the_fastest_of_many) {
    std::vector<CandidateRank> ranks = {rank("head", 1)};
    for (int i = 1; i < 14; ++i) ranks.push_back(rank("r" + std::to_string(i), i));
    const SplitChoice choice = choose(ranks, 1);
    EXPECT_LE(choice.ranks.size(), choice_rank_count_max);
    EXPECT_EQ(choice.ranks.back(), 13U);
    ASSERT_EQ(choice.ranks.size() + choice.left_out.size(), ranks.size());
    for (int i = 1; i <= 4; ++i) {
        EXPECT_EQ(
            choice.left_out[static_cast<std::size_t>(i - 1)],
            "r" + std::to_string(i) + " was not tried: the head and the 9 fastest others were");
    }
}

}  // namespace
}  // namespace exomesh::placement
