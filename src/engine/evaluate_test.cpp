#include "engine/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace exomesh::engine {
namespace {

constexpr std::uint32_t vocabulary_size = 17;

// Expects after each token what depends on its position and on nothing else, and remembers what it
// was asked.
class CountingExecutor final : public StepExecutor {
  public:
    Result<void> start(std::span<const SlotTokens> batch) override {
        const SlotTokens& slot = batch.front();
        EXPECT_EQ(slot.outputs, OutputRows::all);
        logits_.clear();
        for (std::size_t i = 0; i < slot.tokens.size(); ++i) {
            fed.push_back(slot.tokens[i]);
            positions.push_back(slot.first_position + static_cast<std::uint32_t>(i));
            for (std::uint32_t token = 0; token < vocabulary_size; ++token) {
                logits_.push_back(logit(positions.back(), token));
            }
        }
        step_lengths.push_back(slot.tokens.size());
        return {};
    }
    Result<std::span<const OutputRow>> finish() override {
        rows_.clear();
        for (std::size_t i = 0; i < step_lengths.back(); ++i) {
            rows_.push_back(
                {.logits = std::span(logits_).subspan(i * vocabulary_size, vocabulary_size)});
        }
        return std::span<const OutputRow>(rows_);
    }
    Result<void> copy_slot(std::uint32_t, std::uint32_t, std::uint32_t) override { return {}; }
    [[nodiscard]] std::uint32_t output_length() const override { return vocabulary_size; }
    [[nodiscard]] std::uint32_t context_length() const override { return 64; }
    [[nodiscard]] std::uint64_t weight_bytes() const override { return 0; }
    [[nodiscard]] std::uint64_t cache_bytes() const override { return 0; }
    [[nodiscard]] std::uint64_t compute_bytes() const override { return 0; }

    static float logit(std::uint32_t position, std::uint32_t token) {
        return static_cast<float>((position * 7 + token * 5) % 11) - 3.0F;
    }
    // The same sum once more, in the plainest way.
    static double nll(std::uint32_t position, model::TokenId token) {
        double sum = 0;
        for (std::uint32_t i = 0; i < vocabulary_size; ++i) sum += std::exp(logit(position, i));
        return std::log(sum) - logit(position, static_cast<std::uint32_t>(token));
    }

    std::vector<model::TokenId> fed;
    std::vector<std::uint32_t> positions;
    std::vector<std::size_t> step_lengths;

  private:
    std::vector<float> logits_;
    std::vector<OutputRow> rows_;
};

TEST(Evaluate, windows_start_anew_and_predict_all_but_their_first_token) {
    const std::vector<model::TokenId> tokens = {4, 8, 15, 16, 2, 3, 1, 0, 9, 9, 12};
    for (const model::TokenId first : {model::token_none, 5}) {
        CountingExecutor executor;
        std::vector<std::uint64_t> counts;
        const auto found = evaluate_windows(
            executor, tokens, {.window_length = 5, .chunk_length = 3, .first = first},
            [&](const Likelihood& part) { counts.push_back(part.token_count); });
        ASSERT_TRUE(found.has_value());
        const bool has_first = first != model::token_none;
        const std::size_t step = has_first ? 4 : 5;
        double expected = 0;
        std::vector<model::TokenId> fed;
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            if (i % step == 0 && has_first) fed.push_back(first);
            fed.push_back(tokens[i]);
            const auto position = static_cast<std::uint32_t>(i % step + (has_first ? 1 : 0));
            if (position > 0) expected += CountingExecutor::nll(position - 1, tokens[i]);
        }
        EXPECT_EQ(executor.fed, fed);
        EXPECT_EQ(counts, (has_first ? std::vector<std::uint64_t>{4, 4, 3}
                                     : std::vector<std::uint64_t>{4, 4, 0}));
        EXPECT_NEAR(found->negative_log_likelihood, expected, 1e-5);
        EXPECT_EQ(executor.step_lengths.front(), 3U);
        EXPECT_EQ(executor.positions[5], 0U);
    }
}

TEST(Evaluate, a_text_must_fit_the_context) {
    CountingExecutor executor;
    const std::vector<model::TokenId> tokens(65, 1);
    EXPECT_EQ(evaluate(executor, tokens, 8, {}).error().code, ErrorCode::invalid_argument);
}

TEST(Evaluate, probabilities_sum_up_to_one) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal(0.0F, 30.0F);
    std::vector<float> logits(1000);
    for (float& logit : logits) logit = normal(random);
    double sum = 0;
    for (model::TokenId token = 0; token < 1000; ++token) {
        sum += std::exp(log_probability(logits, token));
    }
    EXPECT_NEAR(sum, 1.0, 1e-6);
}

}  // namespace
}  // namespace exomesh::engine
