#include "engine/logits_search.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "base/assert.h"
#include "engine/lanes.h"

namespace exomesh::engine {

namespace {

// Logits are looked at in blocks: most tokens are ruled out by the maximum of their block alone.
constexpr std::size_t search_block_length = 64;
static_assert(search_block_length % (lane_count * register_count) == 0);

float block_maximum(const float* logits) {
    std::array<Lanes, register_count> maxima;
    maxima.fill(Lanes{} + minus_infinity);
    for (std::size_t i = 0; i < search_block_length;) {
        for (Lanes& maximum : maxima) {
            maximum = larger(load(logits + i), maximum);
            i += lane_count;
        }
    }
    const Lanes maximum = larger(larger(maxima[0], maxima[1]), larger(maxima[2], maxima[3]));
    return std::max({maximum[0], maximum[1], maximum[2], maximum[3]});
}

}  // namespace

float LogitsSearch::look_at(std::span<const float> logits, model::TokenId first_token) {
    logits_ = logits;
    first_token_ = first_token;
    block_maxima_.clear();
    maximum_ = minus_infinity;
    for (std::size_t i = 0; i < logits.size(); i += search_block_length) {
        float block = minus_infinity;
        if (i + search_block_length <= logits.size()) {
            block = block_maximum(&logits[i]);
        } else {
            for (const float logit : logits.subspan(i)) block = larger(logit, block);
        }
        block_maxima_.push_back(block);
        maximum_ = larger(block, maximum_);
    }
    return maximum_;
}

model::TokenId LogitsSearch::largest() const {
    EXO_ASSERT(maximum_ > minus_infinity);
    const auto block = std::ranges::find(block_maxima_, maximum_) - block_maxima_.begin();
    const auto begin = logits_.begin() + block * static_cast<std::ptrdiff_t>(search_block_length);
    const auto found = std::find(begin, logits_.end(), maximum_) - logits_.begin();
    return first_token_ + static_cast<model::TokenId>(found);
}

void LogitsSearch::at_least(float threshold, std::vector<Candidate>& out) const {
    threshold = larger(threshold, std::numeric_limits<float>::lowest());
    out.clear();
    for (std::size_t block = 0; block < block_maxima_.size(); ++block) {
        if (block_maxima_[block] < threshold) continue;
        const std::size_t begin = block * search_block_length;
        const std::size_t end = std::min(begin + search_block_length, logits_.size());
        for (std::size_t i = begin; i < end; ++i) {
            if (logits_[i] >= threshold) {
                out.push_back({logits_[i], first_token_ + static_cast<model::TokenId>(i)});
            }
        }
    }
}

// As many blocks as tokens are wanted have a maximum of at least the count-th largest block
// maximum, so at least `count` tokens reach it: few others are looked at.
void LogitsSearch::top(std::size_t count, std::vector<Candidate>& out) {
    float threshold = minus_infinity;
    if (count <= block_maxima_.size()) {
        block_order_.assign(block_maxima_.begin(), block_maxima_.end());
        const auto nth = block_order_.begin() + static_cast<std::ptrdiff_t>(count - 1);
        std::ranges::nth_element(block_order_, nth, std::greater<>());
        threshold = *nth;
    }
    at_least(threshold, out);
    if (out.size() > count) {
        std::ranges::nth_element(out, out.begin() + static_cast<std::ptrdiff_t>(count), precedes);
        out.resize(count);
    }
    std::ranges::sort(out, precedes);
}

}  // namespace exomesh::engine
