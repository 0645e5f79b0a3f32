// The most probable tokens among many logits, without sorting or even looking at most of them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/output_row.h"

namespace exomesh::engine {

// Keeps its memory between rows. NaN counts as -infinity.
class LogitsSearch {
  public:
    // Gives the largest logit; -infinity where no token has a probability. The other functions are
    // about these logits, which must stay. `first_token` is the id of the first of them.
    float look_at(std::span<const float> logits, model::TokenId first_token = 0);

    [[nodiscard]] float maximum() const { return maximum_; }

    // The token of the largest logit, the first of equals. There must be one.
    [[nodiscard]] model::TokenId largest() const;

    // Fills `out` with every token whose logit is at least `threshold` and above -infinity, by id.
    void at_least(float threshold, std::vector<Candidate>& out) const;

    // Fills `out` with the `count` first candidates, in order; fewer where there are fewer.
    void top(std::size_t count, std::vector<Candidate>& out);

  private:
    std::span<const float> logits_;
    model::TokenId first_token_ = 0;
    float maximum_ = 0.0F;
    std::vector<float> block_maxima_;
    std::vector<float> block_order_;  // scratch
};

}  // namespace exomesh::engine
