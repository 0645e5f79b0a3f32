// Four floats in a vector register, with the operators of the vector extension of GCC and Clang:
// neither compiler vectorizes loops over logits on its own without giving up NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>

namespace exomesh::engine {

using Lanes [[gnu::vector_size(16)]] = float;
using LaneBits [[gnu::vector_size(16)]] = std::uint32_t;
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
inline constexpr std::size_t lane_count = 4;
inline constexpr std::size_t register_count = 4;  // independent sums and maxima hide the latency

inline Lanes load(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof(lanes));
    return lanes;
}

// The larger one; `other` where `value` is NaN.
template <typename T>
inline T larger(T value, T other) {
    return value > other ? value : other;
}

// exp(r) for |r| <= ln(2) / 2 within 2 units in the last place.
inline Lanes exp_near_zero(Lanes r) {
    Lanes p = r * (1.0F / 5040.0F) + 1.0F / 720.0F;
    p = p * r + 1.0F / 120.0F;
    p = p * r + 1.0F / 24.0F;
    p = p * r + 1.0F / 6.0F;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    return p;
}

// x = n ln(2) + r with an integral n, for |x| up to 2^14 or NaN.
struct PowerOfTwo {
    Lanes with_n;  // its bits are those of n, but for a constant above: see bits()
    Lanes n;
    Lanes r;

    explicit PowerOfTwo(Lanes x) {
        constexpr auto log2_e = std::numbers::log2e_v<float>;
        constexpr float ln2_high = 355.0F / 512.0F;  // few bits: products with n are exact
        constexpr float ln2_low = -2.12194440e-4F;
        constexpr float round_to_integer = 12582912.0F;  // 1.5 * 2^23: adding it drops the fraction
        with_n = x * log2_e + round_to_integer;
        n = with_n - round_to_integer;
        r = (x - n * ln2_high) - n * ln2_low;
    }
};

}  // namespace exomesh::engine
