#include "engine/chunk_choice.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace exomesh::engine {

namespace {

constexpr std::uint32_t observed_length_min = 8;  // shorter ones are computed by other kernels
constexpr double memory = 0.95;                   // of what was observed, at each new step
constexpr double overhead_tokens_min = 1;
constexpr double overhead_tokens_max = 4096;
// Lengths that differ by less (as a deviation, relative to their mean) say nothing of `a`.
constexpr double length_deviation_min = 0.1;
constexpr double settled_step = 4;
constexpr double settled_error_max = 3;
constexpr std::uint32_t off_count_max = 24;  // steps in a row

double settled(double overhead) {
    const double steps = std::log(overhead / overhead_tokens_default) / std::log(settled_step);
    return overhead_tokens_default * std::pow(settled_step, std::round(steps));
}

// In units of b.
double duration_of(double token_count, double stage_count, double length, double overhead) {
    const double step_count = std::ceil(token_count / length);
    const double filling = (stage_count - 1) * (overhead + std::min(length, token_count));
    return step_count * overhead + token_count + filling;
}

}  // namespace

void ChunkChooser::observe(std::uint32_t token_count, std::uint64_t duration_us) {
    if (token_count < observed_length_min || duration_us == 0) return;
    const auto length = static_cast<double>(token_count);
    const auto duration = static_cast<double>(duration_us);
    const double weight = 1.0 / (length * length);
    for (double* sum : {&weight_, &length_, &duration_, &length_length_, &length_duration_}) {
        *sum *= memory;
    }
    weight_ += weight;
    length_ += weight * length;
    duration_ += weight * duration;
    length_length_ += weight * length * length;
    length_duration_ += weight * length * duration;
    const double error = overhead_tokens() / settled_overhead_tokens_;
    const bool is_off = error > settled_error_max || error < 1 / settled_error_max;
    off_count_ = is_off ? off_count_ + 1 : 0;
    if (off_count_ < off_count_max) return;
    settled_overhead_tokens_ = settled(overhead_tokens());
    off_count_ = 0;
}

double ChunkChooser::overhead_tokens() const {
    const double determinant = weight_ * length_length_ - length_ * length_;
    // The squared relative deviation of the lengths is determinant / length_^2.
    if (determinant <= length_deviation_min * length_deviation_min * length_ * length_) {
        return overhead_tokens_default;
    }
    const double a = (length_length_ * duration_ - length_ * length_duration_) / determinant;
    const double b = (weight_ * length_duration_ - length_ * duration_) / determinant;
    if (b <= 0) return overhead_tokens_max;
    return std::clamp(a / b, overhead_tokens_min, overhead_tokens_max);
}

std::uint32_t ChunkChooser::choose(std::uint64_t token_count, std::uint32_t stage_count,
                                   std::uint32_t chunk_length_max) const {
    EXO_ASSERT(token_count > 0 && stage_count > 0 && chunk_length_max > 0);
    if (stage_count == 1) return chunk_length_max;
    const auto duration = [&](std::uint32_t length) {
        return duration_of(static_cast<double>(token_count), stage_count, length,
                           settled_overhead_tokens_);
    };
    std::uint32_t best = chunk_length_max;
    for (std::uint32_t length = chunk_length_min; length < chunk_length_max; length *= 2) {
        if (duration(length) < duration(best)) best = length;
    }
    return best;
}

}  // namespace exomesh::engine
