#include "runner/output_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace exomesh::runner {
namespace {

using engine::Candidate;
using engine::LogitAdjustment;
using engine::Range;
using engine::RowNeeds;
using ::testing::HasSubstr;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::uint32_t vocabulary_size = 700;

// Of tokens everywhere, so that every rank has some; strong enough to change who is in front.
std::vector<LogitAdjustment> random_adjustments(std::mt19937_64& random) {
    std::vector<LogitAdjustment> adjustments;
    for (std::uint64_t token = random() % 30; token < vocabulary_size; token += 1 + random() % 30) {
        adjustments.push_back(
            {.token = static_cast<model::TokenId>(token),
             .bias = random() % 8 == 0 ? -infinity : static_cast<float>(random() % 9) - 4.0F,
             .repetition = random() % 2 == 0 ? 1.0F : 1.3F,
             .penalty = static_cast<float>(random() % 3)});
    }
    return adjustments;
}

// `adjustments` has what the rows refer to.
std::vector<RowNeeds> random_rows(std::mt19937_64& random,
                                  const std::vector<LogitAdjustment>& adjustments) {
    std::vector<RowNeeds> rows(random() % 6);
    for (RowNeeds& row : rows) {
        if (random() % 3 == 0) continue;
        row.candidate_count =
            1 + static_cast<std::uint32_t>(random() % engine::candidate_count_max);
        row.normalizer = random() % 2 == 0;
        if (random() % 2 == 0) row.adjustments = adjustments;
    }
    return rows;
}

// Rounded, so that there are ties; some rows have hardly a number.
std::vector<float> random_logits(std::mt19937_64& random, std::size_t row_count) {
    std::normal_distribution<float> bell(0.0F, 3.0F);
    std::vector<float> logits(row_count * vocabulary_size);
    for (std::size_t i = 0; i < logits.size(); ++i) {
        const std::size_t row = i / vocabulary_size;
        logits[i] = row % 3 == 2 && random() % 300 != 0 ? -infinity : std::round(bell(random));
    }
    return logits;
}

// Three ranks of unequal shares, the second with nothing.
std::vector<Range> shares_of(std::mt19937_64& random) {
    const auto cut = static_cast<std::uint32_t>(random() % 21 * engine::normalizer_block_length);
    return {{0, cut}, {cut, 0}, {cut, vocabulary_size - cut}};
}

std::vector<float> columns(const std::vector<float>& logits, Range vocabulary) {
    std::vector<float> own;
    for (std::size_t row = 0; row < logits.size(); row += vocabulary_size) {
        const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row + vocabulary.first);
        own.insert(own.end(), begin, begin + vocabulary.count);
    }
    return own;
}

TEST(OutputRows, are_what_one_rank_with_the_whole_vocabulary_finds) {
    std::mt19937_64 random(3);
    OutputEncoder encoder;
    OutputCollector collector;
    for (int round = 0; round < 500; ++round) {
        const std::vector<LogitAdjustment> adjustments = random_adjustments(random);
        const std::vector<RowNeeds> rows = random_rows(random, adjustments);
        const std::vector<float> logits = random_logits(random, rows.size());
        collector.begin(rows, vocabulary_size);
        for (const Range vocabulary : shares_of(random)) {
            const std::vector<float> own = columns(logits, vocabulary);
            const auto payload = encoder.encode(rows, own, vocabulary);
            EXPECT_EQ(payload.size(), output_bytes(rows, vocabulary.count));
            ASSERT_TRUE(collector.add(vocabulary, payload).has_value());
        }
        const auto found = collector.finish();
        ASSERT_EQ(found.size(), rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto row = std::span(logits).subspan(i * vocabulary_size, vocabulary_size);
            EXPECT_EQ(found[i].logits.empty(), !rows[i].whole());
            if (rows[i].whole()) {
                EXPECT_TRUE(std::ranges::equal(found[i].logits, row));
                continue;
            }
            engine::LogitsSearch search;
            std::vector<Candidate> expected;
            std::vector<float> adjusted(row.begin(), row.end());
            for (const LogitAdjustment& one : rows[i].adjustments) {
                float& logit = adjusted[static_cast<std::size_t>(one.token)];
                logit = one.of(logit);
            }
            search.look_at(adjusted);
            search.top(rows[i].candidate_count, expected);
            EXPECT_TRUE(std::ranges::equal(found[i].candidates, expected));
            ASSERT_EQ(found[i].normalizer != nullptr, rows[i].normalizer);
            if (rows[i].normalizer) {
                EXPECT_EQ(*found[i].normalizer, engine::Normalizer(row));
            }
        }
    }
}

TEST(OutputRows, list_one_row_for_each_token_that_comes_out) {
    const std::vector<model::TokenId> tokens = {1, 2, 3};
    const RowNeeds few{.candidate_count = 5, .normalizer = true};
    const std::vector<engine::SlotTokens> batch = {
        {.slot = 0, .tokens = tokens, .outputs = engine::OutputRows::none, .needs = few},
        {.slot = 1, .tokens = tokens, .outputs = engine::OutputRows::last, .needs = few},
        {.slot = 2, .tokens = tokens, .outputs = engine::OutputRows::all}};
    std::vector<RowNeeds> rows(9);
    list_rows(batch, rows);
    EXPECT_EQ(rows, (std::vector<RowNeeds>{few, {}, {}, {}}));
}

// One row, two candidates, the rank has the tokens 32 to 63.
class BadOutput : public ::testing::Test {
  protected:
    static void expect_refused(const std::vector<Candidate>& candidates, const std::string& words) {
        std::vector<std::byte> payload(candidates.size() * sizeof(Candidate));
        std::memcpy(payload.data(), candidates.data(), payload.size());
        refused({.candidate_count = 2, .normalizer = false}, payload, words);
    }
    static void expect_sum_refused(const engine::Normalizer& normalizer, const std::string& words) {
        std::vector<std::byte> payload(4 + sizeof normalizer.sums + 8);
        std::memcpy(payload.data(), &normalizer.exponent, 4);
        std::memcpy(payload.data() + 4, normalizer.sums.data(), sizeof normalizer.sums);
        const Candidate candidate{.logit = 1.0F, .token = 40};
        std::memcpy(payload.data() + payload.size() - 8, &candidate, 8);
        refused({.candidate_count = 1, .normalizer = true}, payload, words);
    }

  private:
    static void refused(const RowNeeds& needs, const std::vector<std::byte>& payload,
                        const std::string& words) {
        OutputCollector collector;
        collector.begin({&needs, 1}, vocabulary_size);
        const auto added = collector.add({32, 32}, payload);
        if (words.empty()) {
            EXPECT_TRUE(added.has_value()) << added.error().text();
            return;
        }
        ASSERT_FALSE(added.has_value());
        EXPECT_EQ(added.error().code, ErrorCode::corrupt_data);
        EXPECT_THAT(added.error().message, HasSubstr(words));
    }
};

TEST_F(BadOutput, of_candidates_is_refused) {
    const Candidate nobody{.logit = -infinity, .token = model::token_none};
    const float nan = std::numeric_limits<float>::quiet_NaN();
    expect_refused({{1.0F, 32}, {1.0F, 63}}, "");
    expect_refused({{1.0F, 32}, nobody}, "");
    expect_refused({nobody, nobody}, "");
    expect_refused({{1.0F, 32}}, "a wrong size");
    expect_refused({{1.0F, 32}, {1.0F, 33}, {1.0F, 34}}, "a wrong size");
    expect_refused({{1.0F, 31}, nobody}, "tokens of others");
    expect_refused({{1.0F, 64}, nobody}, "tokens of others");
    expect_refused({{1.0F, -2}, nobody}, "tokens of others");
    expect_refused({{1.0F, 33}, {2.0F, 34}}, "out of order");
    expect_refused({{1.0F, 34}, {1.0F, 33}}, "out of order");
    expect_refused({{1.0F, 33}, {1.0F, 33}}, "out of order");
    expect_refused({{nan, 33}, {1.0F, 34}}, "out of order");
    expect_refused({{1.0F, 33}, {-infinity, 34}}, "out of order");
    expect_refused({nobody, {1.0F, 33}}, "after the last one");
}

TEST_F(BadOutput, of_sums_is_refused) {
    engine::Normalizer normalizer(std::vector<float>{1.0F});
    expect_sum_refused(normalizer, "");
    expect_sum_refused(engine::Normalizer(), "");
    normalizer.exponent = engine::Normalizer::exponent_max + 1;
    expect_sum_refused(normalizer, "of an unknown size");
    normalizer.exponent = engine::Normalizer::exponent_none;
    expect_sum_refused(normalizer, "of nothing");
    normalizer.exponent = 3;
    normalizer.sums[0] = 0;
    expect_sum_refused(normalizer, "of an unknown size");
    normalizer.sums[7] = engine::Normalizer::sum_max;
    expect_sum_refused(normalizer, "beyond its limit");
}

}  // namespace
}  // namespace exomesh::runner
