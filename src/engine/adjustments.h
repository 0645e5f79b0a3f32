// What a request's logit bias and penalties do to logits, as its text grows: to each token's by
// itself, so that whoever has some rows of the vocabulary can do it to those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/generation.h"
#include "engine/output_row.h"

namespace exomesh::engine {

inline constexpr std::int32_t penalty_window_max = 1 << 17;

// `logits`: of `first_token` and those after it. `adjustments` ascend by token; those of tokens
// that are not there are left out.
void adjust(std::span<float> logits, model::TokenId first_token,
            std::span<const LogitAdjustment> adjustments);

// After the first token nothing is allocated for another.
class Adjustments {
  public:
    // The options are in their ranges.
    Adjustments(const SamplingOptions& options, std::size_t vocabulary_size);

    // The prompt counts for the repetition penalty only. Ids must lie in the vocabulary. Before
    // this and the first accept(), no memory is held in proportion to the vocabulary.
    void accept_prompt(std::span<const TokenId> prompt);
    // The token became part of the answer.
    void accept(TokenId token);

    // In the order of tokens; nothing where there are more than adjustment_count_max. It stays
    // where it is until the next token is accepted.
    [[nodiscard]] std::optional<std::span<const LogitAdjustment>> list() const;

    // Does all of them, however many, to the logits of the whole vocabulary.
    void apply(std::span<float> logits) const;
    // Nothing is to be done.
    [[nodiscard]] bool none() const { return biases_.empty() && counts_.empty(); }

  private:
    struct TokenCount {
        TokenId token;
        std::uint32_t in_window;  // of the last window_length_ tokens
        std::uint32_t generated;
    };

    [[nodiscard]] bool prepare_counts();
    TokenCount& count_of(TokenId token);
    void push_window(TokenId token);
    [[nodiscard]] bool is_biased(TokenId token) const;
    void add_penalties(const TokenCount& count, LogitAdjustment& adjustment) const;
    template <typename Use>
    void for_each(Use use) const;
    void fill_list();

    std::size_t vocabulary_size_;
    std::size_t window_length_;
    float repetition_penalty_;
    float frequency_penalty_;
    float presence_penalty_;
    std::vector<LogitAdjustment> biases_;  // by token

    // Counts of the tokens that occurred, as a sparse set: count_index_[token] is a place in
    // counts_ or -1. Both stay empty where no penalty is asked for, and until a token is accepted.
    std::vector<TokenCount> counts_;
    std::vector<std::int32_t> count_index_;
    std::vector<TokenId> window_;  // a ring once it is full
    std::size_t window_next_ = 0;

    std::vector<LogitAdjustment> list_;  // one more than adjustment_count_max: too many
};

}  // namespace exomesh::engine
