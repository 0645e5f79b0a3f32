// What comes out of a step for one token: a whole row of logits, or what sampling usually needs of
// it, which is a thousandth of the bytes.
#pragma once

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

struct RowNeeds {
    std::uint32_t candidate_count = 0;  // the most probable tokens; 0: the whole row
    bool normalizer = false;            // beside the candidates
    [[nodiscard]] bool whole() const { return candidate_count == 0; }
    bool operator==(const RowNeeds&) const = default;
};

// Either way it stays where it is for as long as who gave it says.
struct OutputRow {
    std::span<const float> logits = {};          // the whole row; empty: candidates were enough
    std::span<const Candidate> candidates = {};  // in order; fewer than wanted where no more have
                                                 // a probability
    const Normalizer* normalizer = nullptr;
};

}  // namespace exomesh::engine
