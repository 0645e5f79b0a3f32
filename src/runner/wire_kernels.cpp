#include "runner/wire_kernels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exomesh::runner {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

constexpr float q8_quant_max = 127.0F;
constexpr std::uint32_t magnitude_mask = 0x7fff'ffff;
constexpr std::uint32_t f32_infinity = 0x7f80'0000;
constexpr std::uint16_t f16_infinity = 0x7c00;
constexpr std::uint16_t f16_nan = 0x7e00;

// Rounds to nearest even, as F16C does; NaN stays NaN with its leading bits.
std::uint16_t to_f16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000;
    const std::uint32_t magnitude = bits & magnitude_mask;
    std::uint32_t result = 0;
    if (magnitude > f32_infinity) {
        result = f16_nan | ((magnitude >> 13) & 0x3ff);
    } else if (magnitude >= 0x4780'0000) {  // 2^16 and above
        result = f16_infinity;
    } else if (magnitude < 0x3880'0000) {  // below 2^-14, F16's smallest normal value
        // The last bit of 0.5 is worth 2^-24 as is that of a subnormal F16, so the addition rounds.
        const float sum = std::bit_cast<float>(magnitude) + 0.5F;
        result = std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(0.5F);
    } else {
        const std::uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
        result = (rounded - 0x3800'0000) >> 13;
    }
    return static_cast<std::uint16_t>(sign | result);
}

float from_f16(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t magnitude = bits & 0x7fffU;
    if (magnitude >= f16_infinity) {
        const std::uint32_t quiet = magnitude > f16_infinity ? 0x0040'0000 : 0;
        return std::bit_cast<float>(sign | f32_infinity | quiet | ((magnitude & 0x3ff) << 13));
    }
    if (magnitude < 0x400) {
        const float value = static_cast<float>(magnitude) * 0x1p-24F;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x3800'0000));
}

float load_f16(const std::byte* source) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source, sizeof bits);
    return from_f16(bits);
}

void store_f16(std::byte* target, std::uint16_t bits) {
    std::memcpy(target, &bits, sizeof bits);
}

// The F16 scale of a block and what its values are multiplied with.
struct Q8Scale {
    std::uint16_t f16 = 0;
    float inverse = 0.0F;
};

// The largest magnitude comes as bits: integers order magnitudes as floats do, with infinity and
// NaN above all others.
Q8Scale q8_scale(std::uint32_t magnitude_max) {
    const float scale = std::bit_cast<float>(magnitude_max) / q8_quant_max;
    Q8Scale result{.f16 = to_f16(scale), .inverse = 1.0F / scale};
    if ((result.f16 & f16_infinity) == f16_infinity) return {.f16 = f16_nan};
    // Scales that F16 has no value for may have no finite inverse either.
    if (result.f16 == 0) result.inverse = 0.0F;
    return result;
}

void encode_f16(const float* values, std::size_t count, std::byte* encoded) {
    for (std::size_t i = 0; i < count; ++i) store_f16(encoded + 2 * i, to_f16(values[i]));
}

void decode_f16(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; ++i) values[i] = load_f16(encoded + 2 * i);
}

void decode_add_f16(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; ++i) values[i] += load_f16(encoded + 2 * i);
}

void encode_q8(const float* values, std::size_t count, std::byte* encoded) {
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        std::uint32_t magnitude_max = 0;
        for (std::size_t j = 0; j < q8_block_values; ++j) {
            magnitude_max = std::max(magnitude_max,
                                     std::bit_cast<std::uint32_t>(values[i + j]) & magnitude_mask);
        }
        const Q8Scale scale = q8_scale(magnitude_max);
        store_f16(encoded, scale.f16);
        std::array<std::int8_t, q8_block_values> quants{};
        if (scale.f16 != f16_nan) {
            for (std::size_t j = 0; j < q8_block_values; ++j)
                quants[j] = static_cast<std::int8_t>(std::nearbyint(values[i + j] * scale.inverse));
        }
        std::memcpy(encoded + 2, quants.data(), quants.size());
    }
}

// scale * quant is exact (11 bits times 7), so a compiler that fuses it with the addition gives the
// same bits.
void decode_q8(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        const float scale = load_f16(encoded);
        for (std::size_t j = 0; j < q8_block_values; ++j)
            values[i + j] = scale * static_cast<float>(static_cast<std::int8_t>(encoded[2 + j]));
    }
}

void decode_add_q8(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        const float scale = load_f16(encoded);
        for (std::size_t j = 0; j < q8_block_values; ++j)
            values[i + j] += scale * static_cast<float>(static_cast<std::int8_t>(encoded[2 + j]));
    }
}

#if defined(__x86_64__)
#define EXO_AVX2 __attribute__((target("avx2,fma,f16c")))

constexpr std::size_t lanes = 8;

EXO_AVX2 void encode_f16_avx2(const float* values, std::size_t count, std::byte* encoded) {
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(values + i),
                                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(encoded + 2 * i), halves);
    }
    encode_f16(values + i, count - i, encoded + 2 * i);
}

EXO_AVX2 void decode_f16_avx2(const std::byte* encoded, std::size_t count, float* values) {
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const auto* source = reinterpret_cast<const __m128i*>(encoded + 2 * i);
        _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128(source)));
    }
    decode_f16(encoded + 2 * i, count - i, values + i);
}

EXO_AVX2 void decode_add_f16_avx2(const std::byte* encoded, std::size_t count, float* values) {
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        const auto* source = reinterpret_cast<const __m128i*>(encoded + 2 * i);
        const __m256 decoded = _mm256_cvtph_ps(_mm_loadu_si128(source));
        _mm256_storeu_ps(values + i, _mm256_add_ps(_mm256_loadu_ps(values + i), decoded));
    }
    decode_add_f16(encoded + 2 * i, count - i, values + i);
}

EXO_AVX2 inline __m256i magnitudes(__m256 values) {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(magnitude_mask));
    return _mm256_and_si256(_mm256_castps_si256(values), mask);
}

EXO_AVX2 inline std::uint32_t largest(__m256i bits) {
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(1, 0, 3, 2)));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(2, 3, 0, 1)));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(most));
}

EXO_AVX2 void encode_q8_avx2(const float* values, std::size_t count, std::byte* encoded) {
    // Packing works within 128-bit halves; this puts each four values back to where they belong.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        const __m256 part0 = _mm256_loadu_ps(values + i);
        const __m256 part1 = _mm256_loadu_ps(values + i + lanes);
        const __m256 part2 = _mm256_loadu_ps(values + i + 2 * lanes);
        const __m256 part3 = _mm256_loadu_ps(values + i + 3 * lanes);
        const std::uint32_t magnitude_max =
            largest(_mm256_max_epi32(_mm256_max_epi32(magnitudes(part0), magnitudes(part1)),
                                     _mm256_max_epi32(magnitudes(part2), magnitudes(part3))));
        const float scale = std::bit_cast<float>(magnitude_max) / q8_quant_max;
        const auto f16 = static_cast<std::uint16_t>(_cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT));
        if (f16 == 0 || f16 >= f16_infinity) [[unlikely]] {
            encode_q8(values + i, q8_block_values, encoded);
            continue;
        }
        store_f16(encoded, f16);
        const __m256 inverse = _mm256_set1_ps(1.0F / scale);
        const __m256i words01 =
            _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(part0, inverse)),
                               _mm256_cvtps_epi32(_mm256_mul_ps(part1, inverse)));
        const __m256i words23 =
            _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(part2, inverse)),
                               _mm256_cvtps_epi32(_mm256_mul_ps(part3, inverse)));
        const __m256i quants =
            _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words01, words23), order);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(encoded + 2), quants);
    }
}

// Eight values from `quants` on.
EXO_AVX2 inline __m256 scaled(const std::byte* quants, __m256 scale) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(quants));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)), scale);
}

EXO_AVX2 inline __m256 load_scale(const std::byte* block) {
    std::int16_t bits = 0;
    std::memcpy(&bits, block, sizeof bits);
    return _mm256_cvtph_ps(_mm_set1_epi16(bits));
}

EXO_AVX2 void decode_q8_avx2(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        const __m256 scale = load_scale(encoded);
        for (std::size_t j = 0; j < q8_block_values; j += lanes)
            _mm256_storeu_ps(values + i + j, scaled(encoded + 2 + j, scale));
    }
}

EXO_AVX2 void decode_add_q8_avx2(const std::byte* encoded, std::size_t count, float* values) {
    for (std::size_t i = 0; i < count; i += q8_block_values, encoded += q8_block_bytes) {
        const __m256 scale = load_scale(encoded);
        for (std::size_t j = 0; j < q8_block_values; j += lanes) {
            const __m256 sum =
                _mm256_add_ps(_mm256_loadu_ps(values + i + j), scaled(encoded + 2 + j, scale));
            _mm256_storeu_ps(values + i + j, sum);
        }
    }
}
#undef EXO_AVX2
#endif

}  // namespace

const WireKernels& plain_wire_kernels() {
    static constexpr WireKernels kernels{.encode_f16 = encode_f16,
                                         .decode_f16 = decode_f16,
                                         .decode_add_f16 = decode_add_f16,
                                         .encode_q8 = encode_q8,
                                         .decode_q8 = decode_q8,
                                         .decode_add_q8 = decode_add_q8};
    return kernels;
}

const WireKernels* vector_wire_kernels() {
#if defined(__x86_64__)
    static constexpr WireKernels kernels{.encode_f16 = encode_f16_avx2,
                                         .decode_f16 = decode_f16_avx2,
                                         .decode_add_f16 = decode_add_f16_avx2,
                                         .encode_q8 = encode_q8_avx2,
                                         .decode_q8 = decode_q8_avx2,
                                         .decode_add_q8 = decode_add_q8_avx2};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        return &kernels;
    }
#endif
    return nullptr;
}

}  // namespace exomesh::runner
