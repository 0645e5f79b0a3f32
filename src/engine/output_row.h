// What comes out of a step for one token: a whole row of logits, or what sampling usually needs of
// it, which is a thousandth of the bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/normalizer.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

// Of one row at most. A greater top-k is sampled from whole rows.
inline constexpr std::uint32_t candidate_count_max = 64;

struct Candidate {
    float logit = 0.0F;  // neither NaN nor -infinity
    model::TokenId token = model::token_none;
    bool operator==(const Candidate&) const = default;
};

// The order of candidates: the most probable first, of equals the smaller token.
[[nodiscard]] inline bool precedes(const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// Of one row at most. With more of them the whole row is sampled from.
inline constexpr std::size_t adjustment_count_max = 1024;

// What sampling does to a token's logit before it looks at any. Everywhere by of(), for the same
// bits.
struct LogitAdjustment {
    model::TokenId token = model::token_none;
    float bias = 0.0F;        // is added; below infinity, and -infinity rules the token out
    float repetition = 1.0F;  // then divides what is above 0 and multiplies what is not
    float penalty = 0.0F;     // is subtracted last
    [[nodiscard]] float of(float logit) const;
    // To be asked of one that was received: whether its numbers are such as these.
    [[nodiscard]] bool is_usable() const;
    bool operator==(const LogitAdjustment&) const = default;
};

struct RowNeeds {
    std::uint32_t candidate_count = 0;  // the most probable tokens; 0: the whole row
    bool normalizer = false;            // beside the candidates, of the logits as they are
    // Done before candidates are chosen, and none to a whole row; each token once, ascending.
    std::span<const LogitAdjustment> adjustments = {};
    [[nodiscard]] bool whole() const { return candidate_count == 0; }
    bool operator==(const RowNeeds& other) const {
        return candidate_count == other.candidate_count && normalizer == other.normalizer &&
               std::ranges::equal(adjustments, other.adjustments);
    }
};

// Either way it stays where it is for as long as who gave it says.
struct OutputRow {
    std::span<const float> logits = {};          // the whole row; empty: candidates were enough
    std::span<const Candidate> candidates = {};  // of adjusted logits, in order; fewer than wanted
                                                 // where no more have a probability
    const Normalizer* normalizer = nullptr;
};

}  // namespace exomesh::engine
