#include "engine/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace exomesh::engine {
namespace {

TEST(Partition, gives_away_every_unit_in_proportion) {
    std::mt19937 random(3);
    for (int round = 0; round < 2000; ++round) {
        const auto unit_count = static_cast<std::uint32_t>(random() % 200);
        std::vector<double> shares(1 + random() % 6);
        for (double& share : shares) share = static_cast<double>(random() % 5);
        shares[random() % shares.size()] += 1;
        const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
        const auto units = apportion(unit_count, shares);
        ASSERT_EQ(units.size(), shares.size());
        EXPECT_EQ(std::accumulate(units.begin(), units.end(), 0U), unit_count);
        const auto positive = static_cast<std::uint32_t>(
            std::ranges::count_if(shares, [](double share) { return share > 0; }));
        for (std::size_t i = 0; i < shares.size(); ++i) {
            EXPECT_TRUE(shares[i] > 0 || units[i] == 0);
            EXPECT_TRUE(shares[i] == 0 || unit_count < positive || units[i] > 0);
            EXPECT_NEAR(units[i], unit_count * shares[i] / sum, static_cast<double>(shares.size()));
        }
    }
}

TEST(Partition, is_exact_where_it_can_be) {
    EXPECT_EQ(apportion(10, std::vector{0.7, 0.3}), (std::vector<std::uint32_t>{7, 3}));
    EXPECT_EQ(apportion(10, std::vector{0.5, 0.3, 0.2}), (std::vector<std::uint32_t>{5, 3, 2}));
    EXPECT_EQ(apportion(3, std::vector{1.0, 1.0, 1.0, 1.0}),
              (std::vector<std::uint32_t>{1, 1, 1, 0}));
}

TEST(Partition, layers_are_contiguous) {
    const auto layers = split_layers(30, std::vector{2.0, 1.0});
    ASSERT_TRUE(layers.has_value());
    EXPECT_EQ(*layers, (std::vector<Range>{{0, 20}, {20, 10}}));
    EXPECT_FALSE(split_layers(2, std::vector{1.0, 1.0, 1.0}).has_value());
    EXPECT_FALSE(split_layers(8, std::vector{1.0, 0.0}).has_value());
    EXPECT_FALSE(split_layers(8, std::vector{-1.0, 2.0}).has_value());
}

model::Architecture small_llama() {
    model::Architecture architecture;
    architecture.layer_count = 4;
    architecture.head_count = 9;
    architecture.key_value_head_count = 3;
    architecture.key_length = architecture.value_length = 64;
    architecture.feed_forward_length = 1536;
    architecture.vocabulary_size = 1001;
    return architecture;
}

TEST(Partition, a_fourth_rank_gets_no_attention_where_there_are_three_key_heads) {
    const Alignment alignment{
        .attention_unit_count = 3, .query_heads_per_unit = 3, .feed_forward_unit = 32};
    const auto slices =
        split_tensor(alignment, small_llama(), {0, 4}, std::vector{1.0, 1.0, 1.0, 1.0});
    ASSERT_TRUE(slices.has_value());
    std::uint32_t heads = 0;
    std::uint32_t columns = 0;
    std::uint32_t rows = 0;
    for (const ShardSlice& slice : *slices) {
        EXPECT_EQ(slice.query_heads.first, heads);
        EXPECT_EQ(slice.query_heads.count, 3 * slice.key_value_heads.count);
        EXPECT_EQ(slice.feed_forward.first, columns);
        EXPECT_EQ(slice.vocabulary.first, rows);
        heads += slice.query_heads.count;
        columns += slice.feed_forward.count;
        rows += slice.vocabulary.count;
    }
    EXPECT_EQ(heads, 9U);
    EXPECT_EQ(columns, 1536U);
    EXPECT_EQ(rows, 1001U);
    EXPECT_EQ(slices->back().query_heads.count, 0U);
}

TEST(Partition, one_key_head_is_on_every_rank_with_queries) {
    model::Architecture architecture = small_llama();
    architecture.head_count = 4;
    architecture.key_value_head_count = 1;
    const Alignment alignment{.attention_unit_count = 4,
                              .replicates_key_value_head = true,
                              .query_heads_per_unit = 1,
                              .feed_forward_unit = 32};
    const auto slices = split_tensor(alignment, architecture, {0, 4}, std::vector{3.0, 1.0});
    ASSERT_TRUE(slices.has_value());
    EXPECT_EQ(slices->at(0).query_heads, (Range{0, 3}));
    EXPECT_EQ(slices->at(1).query_heads, (Range{3, 1}));
    EXPECT_EQ(slices->at(0).key_value_heads, (Range{0, 1}));
    EXPECT_EQ(slices->at(1).key_value_heads, (Range{0, 1}));
}

}  // namespace
}  // namespace exomesh::engine
