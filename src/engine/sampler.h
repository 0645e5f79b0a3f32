// Chooses the next token of one request from the model's logits.
//
// The chain is llama.cpp's default one for the options there are: constraint, logit bias,
// penalties, top-k, top-p, min-p, temperature, draw. Top-p and min-p look at the probabilities
// before temperature. Ties are broken towards the smaller token id.
//
// Logits that are not a number count as -infinity; a token at -infinity is never chosen.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/adjustments.h"
#include "engine/generation.h"
#include "engine/logits_search.h"
#include "engine/output_row.h"

namespace exomesh::engine {

// xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), its
// state filled by splitmix64: the same numbers from the same seed on every platform.
class RandomGenerator {
  public:
    explicit RandomGenerator(std::uint64_t seed);
    [[nodiscard]] std::uint64_t next();
    // Uniform in [0, 1): the upper 53 bits.
    [[nodiscard]] double next_unit();

  private:
    std::array<std::uint64_t, 4> state_;
};

// A seed nobody can guess, for requests that name none.
[[nodiscard]] std::uint64_t fresh_seed();

struct LogProbability {
    TokenId token = model::token_none;
    float logprob = 0.0F;  // natural logarithm
};

struct LogProbabilities {
    float chosen = 0.0F;              // -infinity where the model rules the token out
    std::vector<LogProbability> top;  // most probable first
};

// Threads: one at a time. After the first token nothing is allocated for another.
class Sampler {
  public:
    // invalid_argument: an option out of its range, or a biased token that is not in the
    // vocabulary. `constraint` may be null.
    [[nodiscard]] static Result<Sampler> create(const SamplingOptions& options,
                                                std::size_t vocabulary_size,
                                                std::shared_ptr<Constraint> constraint = nullptr);

    // The prompt counts for the repetition penalty only. Ids must lie in the vocabulary. Before
    // this and the first accept(), a sampler holds no memory in proportion to the vocabulary.
    void accept_prompt(std::span<const TokenId> prompt);

    // What sample() needs of the next row, and log_softmax_top() with this count (empty: not
    // called). Never less than that; whether it is candidates or the whole row, the results are the
    // same bits. Its adjustments stay where they are until the next token is accepted.
    [[nodiscard]] RowNeeds row_needs(std::optional<int> top_logprob_count) const;

    // The next token; draws one random number unless the choice is greedy. `row` has what
    // row_needs() says, or all: one logit per vocabulary entry. An error (internal) where no token
    // is left: every logit is NaN or -infinity, by the model's fault or because the constraint
    // allows nothing. The token is not accepted yet.
    [[nodiscard]] Result<TokenId> sample(const OutputRow& row);
    [[nodiscard]] Result<TokenId> sample(std::span<const float> logits) {
        return sample(OutputRow{.logits = logits});
    }

    // The token became part of the answer.
    void accept(TokenId token);

    // Logarithms of softmax(logits): of `chosen` and of the `count` most probable tokens (fewer
    // where fewer have a probability at all), without any sampling option. `chosen` is what came
    // out of `sample` for this row; any token where the row is whole. The error is that of
    // `sample`.
    [[nodiscard]] Result<LogProbabilities> log_softmax_top(const OutputRow& row, TokenId chosen,
                                                           int count);

  private:
    Sampler(const SamplingOptions& options, std::size_t vocabulary_size,
            std::shared_ptr<Constraint> constraint);

    [[nodiscard]] std::span<const float> adjusted(std::span<const float> logits);
    [[nodiscard]] bool uses_top_k() const;
    [[nodiscard]] std::uint32_t candidates_needed() const;
    [[nodiscard]] std::unexpected<Error> nothing_left() const;
    [[nodiscard]] TokenId choose(std::span<const float> logits);
    [[nodiscard]] TokenId choose_among_top();
    void select_nucleus(std::span<const float> logits, float maximum);
    void keep_top_p(double total, float maximum);
    void keep_min_p();
    [[nodiscard]] TokenId draw(float maximum);

    SamplingOptions options_;
    std::size_t vocabulary_size_;
    std::shared_ptr<Constraint> constraint_;
    RandomGenerator random_;
    Adjustments adjustments_;

    // Scratch, kept for its memory.
    std::vector<float> logits_;
    LogitsSearch search_;
    std::vector<Candidate> candidates_;
};

}  // namespace exomesh::engine
