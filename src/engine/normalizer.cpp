#include "engine/normalizer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "engine/lanes.h"

namespace exomesh::engine {

namespace {

using LaneIntegers [[gnu::vector_size(16)]] = std::int32_t;

// Of a block's sum, which lies between 0.7 and 46 and has 24 bits itself: all of it counts.
constexpr int fraction_bits = 24;
constexpr std::size_t lanes_per_block = normalizer_block_length / lane_count;

struct BlockSum {
    std::int32_t exponent = Normalizer::exponent_none;
    std::uint64_t sum = 0;  // * 2^(exponent - fraction_bits)
};

BlockSum sum_of_block(const float* logits) {
    constexpr float n_of_nothing = -2.0F * static_cast<float>(Normalizer::exponent_max);
    std::array<Lanes, lanes_per_block> powers;
    std::array<Lanes, lanes_per_block> fractions;
    Lanes largest = Lanes{} + n_of_nothing;
    for (std::size_t i = 0; i < lanes_per_block; ++i) {
        const Lanes logit = load(logits + i * lane_count);
        Lanes x = larger(logit, Lanes{} - normalizer_logit_max);
        x = x < normalizer_logit_max ? x : Lanes{} + normalizer_logit_max;
        const PowerOfTwo split(x);
        powers[i] = logit > minus_infinity ? split.n : Lanes{} + n_of_nothing;
        fractions[i] = exp_near_zero(split.r);
        largest = larger(powers[i], largest);
    }
    const float n_max = std::max({largest[0], largest[1], largest[2], largest[3]});
    if (n_max == n_of_nothing) return {};
    Lanes sum{};
    for (std::size_t i = 0; i < lanes_per_block; ++i) {
        // 2^(n - n_max) by its exponent bits; 0 where float has no such number.
        const Lanes depth = larger(powers[i] - n_max, Lanes{} - 127.0F);
        const auto bits = __builtin_convertvector(depth + 127.0F, LaneIntegers) << 23;
        sum += fractions[i] * std::bit_cast<Lanes>(bits);
    }
    const float total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return {static_cast<std::int32_t>(n_max),
            static_cast<std::uint64_t>(total * static_cast<float>(1 << fraction_bits))};
}

}  // namespace

Normalizer::Normalizer(std::span<const float> logits) {
    const auto add_block = [this](const float* block) {
        const BlockSum sum = sum_of_block(block);
        if (sum.exponent > exponent) raise(sum.exponent);
        // exponent_none is the least there is: nothing may be taken from it.
        if (sum.exponent != exponent_none &&
            sum.exponent > exponent - static_cast<std::int32_t>(sum_count)) {
            sums[static_cast<std::size_t>(exponent - sum.exponent)] += sum.sum;
        }
    };
    std::size_t begin = 0;
    for (; begin + normalizer_block_length <= logits.size(); begin += normalizer_block_length) {
        add_block(&logits[begin]);
    }
    if (begin == logits.size()) return;
    std::array<float, normalizer_block_length> last;
    last.fill(minus_infinity);
    std::ranges::copy(logits.subspan(begin), last.begin());
    add_block(last.data());
}

// Makes room for a larger power of two; sums too far below it fall out.
void Normalizer::raise(std::int32_t new_exponent) {
    if (exponent != exponent_none) {
        const auto count = static_cast<std::size_t>(new_exponent - exponent);
        for (std::size_t i = sum_count; i-- > 0;) sums[i] = i < count ? 0 : sums[i - count];
    }
    exponent = new_exponent;
}

void Normalizer::add(const Normalizer& other) {
    if (other.exponent == exponent_none) return;
    if (other.exponent > exponent) raise(other.exponent);
    const auto depth = static_cast<std::size_t>(exponent - other.exponent);
    for (std::size_t i = depth; i < sum_count; ++i) sums[i] += other.sums[i - depth];
}

double Normalizer::log_sum_exp() const {
    double sum = 0.0;
    for (std::size_t i = sum_count; i-- > 0;) {
        sum += std::ldexp(static_cast<double>(sums[i]), -fraction_bits - static_cast<int>(i));
    }
    return std::log(sum) + static_cast<double>(exponent) * std::numbers::ln2;
}

float Normalizer::log_probability(float logit) const {
    if (!(logit > minus_infinity)) return minus_infinity;
    const float bounded = std::clamp(logit, -normalizer_logit_max, normalizer_logit_max);
    // A sum in float may be less than its only part.
    return std::min(static_cast<float>(static_cast<double>(bounded) - log_sum_exp()), 0.0F);
}

}  // namespace exomesh::engine
