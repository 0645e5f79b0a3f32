// The denominator of a softmax, computed in parts: each rank sums over its own rows of the
// vocabulary, and what the parts add up to is, to the last bit, what one sum over all rows gives.
//
// A block of 32 logits is summed in float, relative to the power of two of its own maximum. Blocks
// are then added as integers, in one sum for each power of two: in integers the order of additions
// does not matter. (The idea of binned, reproducible summation: Demmel and Nguyen, "Parallel
// Reproducible Summation", 2015.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace exomesh::engine {

// Parts must begin at multiples of this.
inline constexpr std::size_t normalizer_block_length = 32;

// Beyond it logits count as it: no model has such, and powers of two stay exact in float.
inline constexpr float normalizer_logit_max = 16384.0F;

class Normalizer {
  public:
    // What is 2^48 times less than the largest does not count.
    static constexpr std::size_t sum_count = 48;
    static constexpr std::int32_t exponent_max = 23640;  // of exp(normalizer_logit_max)
    static constexpr std::int32_t exponent_none = std::numeric_limits<std::int32_t>::min();
    static constexpr std::uint64_t sum_max = std::uint64_t{1} << 48;  // of 2^18 blocks

    // Of no logit.
    Normalizer() = default;
    // NaN counts as -infinity.
    explicit Normalizer(std::span<const float> logits);

    void add(const Normalizer& other);

    // log(sum of exp(logit)); -infinity where there was none above -infinity.
    [[nodiscard]] double log_sum_exp() const;
    // log(exp(logit) / sum of exp), for a logit that is in the sum.
    [[nodiscard]] float log_probability(float logit) const;

    // The sum is that of sums[i] * 2^(exponent - i - fraction_bits). To be sent and received: any
    // exponent from -exponent_max to exponent_max or exponent_none, any sums below sum_max.
    std::int32_t exponent = exponent_none;
    std::array<std::uint64_t, sum_count> sums = {};

    bool operator==(const Normalizer&) const = default;

  private:
    void raise(std::int32_t new_exponent);
};

}  // namespace exomesh::engine
