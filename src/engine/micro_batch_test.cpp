#include "engine/micro_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

namespace exomesh::engine {
namespace {

// (slot, position, token, whether its row comes out), in order.
using Row = std::tuple<std::uint32_t, std::uint32_t, model::TokenId, bool>;

std::vector<Row> rows_of(std::span<const SlotTokens> batch) {
    std::vector<Row> rows;
    for (const SlotTokens& slot : batch) {
        for (std::size_t i = 0; i < slot.tokens.size(); ++i) {
            const bool comes_out =
                slot.outputs == OutputRows::all ||
                (slot.outputs == OutputRows::last && i + 1 == slot.tokens.size());
            rows.emplace_back(slot.slot, slot.first_position + static_cast<std::uint32_t>(i),
                              slot.tokens[i], comes_out);
        }
    }
    return rows;
}

TEST(SplitBatch, keeps_all_rows_in_order_in_two_halves) {
    std::mt19937 random(3);
    const auto below = [&random](std::uint32_t end) {
        return static_cast<std::uint32_t>(random() % end);
    };
    std::vector<model::TokenId> tokens(600);
    std::ranges::iota(tokens, 0);
    for (int round = 0; round < 300; ++round) {
        std::vector<SlotTokens> batch;
        std::uint32_t slot = 0;
        while (token_count(batch) < micro_batch_tokens_min || below(3) > 0) {
            slot += 1 + below(3);
            batch.push_back({.slot = slot,
                             .first_position = below(100),
                             .tokens = std::span(tokens).subspan(
                                 below(200), below(2) == 0 ? 1 : 1 + below(300)),
                             .outputs = static_cast<OutputRows>(below(3))});
        }
        const MicroBatches halves = split_batch(batch);
        std::vector<Row> rows = rows_of(halves.first);
        EXPECT_EQ(rows.size() % micro_batch_step, 0U);
        EXPECT_LT(token_count(batch) - 2 * rows.size(), 2 * micro_batch_step);
        const std::vector<Row> second = rows_of(halves.second);
        EXPECT_FALSE(rows.empty());
        EXPECT_FALSE(second.empty());
        rows.insert(rows.end(), second.begin(), second.end());
        EXPECT_EQ(rows, rows_of(batch));
        for (const auto& half : {halves.first, halves.second}) {
            EXPECT_TRUE(std::ranges::none_of(
                half, [](const SlotTokens& part) { return part.tokens.empty(); }));
            EXPECT_TRUE(
                std::ranges::is_sorted(half, std::ranges::less_equal(), &SlotTokens::slot) ||
                half.size() <= 1);
        }
    }
}

}  // namespace
}  // namespace exomesh::engine
