#include "runner/wire_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "runner/wire_kernels.h"

namespace exomesh::runner {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr WireType types[] = {WireType::f32, WireType::f16, WireType::q8_0};

std::vector<float> bell_values(std::size_t count, float spread, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> bell(0.0F, spread);
    std::vector<float> values(count);
    for (float& value : values) value = bell(random);
    return values;
}

std::vector<std::byte> encoded(WireType type, const std::vector<float>& values) {
    std::vector<std::byte> bytes(encoded_size_bytes(type, values.size()), std::byte{0xee});
    encode(type, values, bytes);
    return bytes;
}

std::vector<float> round_trip(WireType type, const std::vector<float>& values) {
    std::vector<float> decoded(values.size(), 7.0F);
    decode(type, encoded(type, values), decoded);
    return decoded;
}

float scale_of(const std::byte* block) {
    float scale = 0.0F;
    plain_wire_kernels().decode_f16(block, 1, &scale);
    return scale;
}

bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
    return std::ranges::equal(one, other, [](float left, float right) {
        return (std::isnan(left) && std::isnan(right)) ||
               std::bit_cast<std::uint32_t>(left) == std::bit_cast<std::uint32_t>(right);
    });
}

TEST(WireCodec, knows_its_types_by_name) {
    for (const WireType type : types) {
        const auto parsed = parse_wire_type(wire_type_name(type));
        ASSERT_TRUE(parsed);
        EXPECT_EQ(*parsed, type);
    }
    EXPECT_EQ(wire_type_name(WireType::q8_0), "q8");
    const auto unknown = parse_wire_type("q4");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, ErrorCode::invalid_argument);
    EXPECT_FALSE(parse_wire_type(""));
}

TEST(WireCodec, has_these_sizes) {
    EXPECT_EQ(encoded_size_bytes(WireType::f32, 2048), 8192U);
    EXPECT_EQ(encoded_size_bytes(WireType::f16, 2048), 4096U);
    EXPECT_EQ(encoded_size_bytes(WireType::q8_0, 2048), 2176U);
    EXPECT_EQ(encoded_size_bytes(WireType::q8_0, 1), 34U);
    EXPECT_EQ(encoded_size_bytes(WireType::q8_0, 33), 68U);
    for (const WireType type : types) EXPECT_EQ(encoded_size_bytes(type, 0), 0U);
}

TEST(WireCodec, writes_a_q8_block_as_ggml_does) {
    std::vector<float> values(32, 0.0F);
    values[0] = 127.0F;  // scale 1
    values[1] = -127.0F;
    values[2] = 2.5F;  // a tie: to even
    values[3] = 3.5F;
    values[31] = -1.4F;
    const auto bytes = encoded(WireType::q8_0, values);
    ASSERT_EQ(bytes.size(), 34U);
    EXPECT_EQ(bytes[0], std::byte{0x00});
    EXPECT_EQ(bytes[1], std::byte{0x3c});
    const auto quant = [&](std::size_t i) { return static_cast<std::int8_t>(bytes[2 + i]); };
    EXPECT_EQ(quant(0), 127);
    EXPECT_EQ(quant(1), -127);
    EXPECT_EQ(quant(2), 2);
    EXPECT_EQ(quant(3), 4);
    EXPECT_EQ(quant(4), 0);
    EXPECT_EQ(quant(31), -1);
}

TEST(WireCodec, errs_within_its_bounds_at_every_length) {
    for (std::size_t count = 0; count <= 100; ++count) {
        const auto values = bell_values(count, 3.0F, static_cast<std::uint32_t>(count));
        EXPECT_TRUE(same_bits(round_trip(WireType::f32, values), values));
        const auto halves = round_trip(WireType::f16, values);
        for (std::size_t i = 0; i < count; ++i)
            EXPECT_LE(std::abs(halves[i] - values[i]), std::abs(values[i]) * 0x1p-11F + 0x1p-25F);
        const auto quants = round_trip(WireType::q8_0, values);
        for (std::size_t i = 0; i < count; ++i) {
            float largest = 0.0F;
            const std::size_t first = i / 32 * 32;
            for (std::size_t j = first; j < std::min(first + 32, count); ++j)
                largest = std::max(largest, std::abs(values[j]));
            // Half a step, and what the scale itself loses in F16 times 127.
            const float bound = largest / 127.0F * 0.501F + largest * 0x1p-11F;
            EXPECT_LE(std::abs(quants[i] - values[i]), bound) << count << " values, number " << i;
        }
    }
}

TEST(WireCodec, pads_the_last_block_with_zeros) {
    const auto bytes = encoded(WireType::q8_0, std::vector<float>(40, 5.0F));
    ASSERT_EQ(bytes.size(), 68U);
    for (std::size_t i = 0; i < 32; ++i)
        EXPECT_EQ(static_cast<std::int8_t>(bytes[36 + i]), i < 8 ? 127 : 0);
}

TEST(WireCodec, adds_exactly_what_it_decodes) {
    for (const WireType type : types) {
        for (const std::size_t count : {1U, 31U, 32U, 33U, 2048U, 2057U}) {
            const auto bytes = encoded(type, bell_values(count, 2.0F, 3));
            const auto before = bell_values(count, 2.0F, 4);
            std::vector<float> decoded(count);
            decode(type, bytes, decoded);
            auto sum = before;
            decode_add(type, bytes, sum);
            for (std::size_t i = 0; i < count; ++i) decoded[i] = before[i] + decoded[i];
            EXPECT_TRUE(same_bits(sum, decoded)) << wire_type_name(type) << ", " << count;
        }
    }
}

TEST(WireCodec, writes_only_where_it_should) {
    for (const WireType type : types) {
        const auto values = bell_values(45, 1.0F, 5);
        const auto bytes = encoded(type, values);
        std::vector<float> target(47, 9.0F);
        decode(type, bytes, std::span(target).subspan(1, 45));
        decode_add(type, bytes, std::span(target).subspan(1, 45));
        EXPECT_EQ(target.front(), 9.0F);
        EXPECT_EQ(target.back(), 9.0F);
    }
}

TEST(WireCodec, keeps_a_fault_visible) {
    for (const float fault : {not_a_number, -not_a_number, infinity, -infinity}) {
        for (const std::size_t place : {0U, 31U, 32U, 69U}) {
            auto values = bell_values(70, 1.0F, 6);
            values[place] = fault;
            for (const WireType type : {WireType::f32, WireType::f16}) {
                const auto decoded = round_trip(type, values);
                if (std::isnan(fault))
                    EXPECT_TRUE(std::isnan(decoded[place]));
                else
                    EXPECT_EQ(decoded[place], fault);
                EXPECT_TRUE(std::isfinite(decoded[place == 0 ? 1 : 0]));
            }
            const auto decoded = round_trip(WireType::q8_0, values);
            for (std::size_t i = 0; i < values.size(); ++i)
                EXPECT_EQ(std::isnan(decoded[i]), i / 32 == place / 32);
        }
    }
    // Beyond what an F16 scale can say.
    const auto decoded = round_trip(WireType::q8_0, std::vector<float>(32, 1e7F));
    EXPECT_TRUE(std::ranges::all_of(decoded, [](float value) { return std::isnan(value); }));
    EXPECT_EQ(round_trip(WireType::f16, {65519.0F, 65520.0F}),
              (std::vector<float>{65504.0F, infinity}));
}

TEST(WireCodec, takes_tiny_values_for_zero) {
    for (const float tiny : {1e-40F, 1e-38F, 1e-30F, 1e-7F}) {
        const auto decoded = round_trip(WireType::q8_0, std::vector<float>(32, tiny));
        EXPECT_TRUE(std::ranges::all_of(decoded, [](float value) { return value == 0.0F; }));
    }
}

TEST(WireKernels, turn_every_f16_into_f32_and_back) {
    for (const WireKernels* kernels : {&plain_wire_kernels(), vector_wire_kernels()}) {
        if (kernels == nullptr) continue;
        std::vector<std::uint16_t> halves(1 << 16);
        for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
        std::vector<float> values(halves.size());
        kernels->decode_f16(std::as_bytes(std::span(halves)).data(), halves.size(), values.data());
        std::vector<std::uint16_t> again(halves.size());
        kernels->encode_f16(values.data(), values.size(),
                            std::as_writable_bytes(std::span(again)).data());
        for (std::size_t i = 0; i < halves.size(); ++i) {
            const bool is_nan = (i & 0x7fff) > 0x7c00;
            const int exponent = static_cast<int>((i >> 10) & 0x1f);
            const float mantissa = static_cast<float>(i & 0x3ff);
            const float magnitude = exponent == 0 ? mantissa * 0x1p-24F
                                    : exponent == 31
                                        ? infinity
                                        : std::ldexp(1024.0F + mantissa, exponent - 25);
            ASSERT_EQ(std::isnan(values[i]), is_nan) << i;
            if (!is_nan) {
                ASSERT_EQ(values[i], i >= 0x8000 ? -magnitude : magnitude) << i;
            }
            ASSERT_EQ(again[i], is_nan ? i | 0x200 : i);
        }
    }
}

// Random bits: every exponent, subnormal values, infinities and NaN among them.
std::vector<float> wild_values(std::size_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; i += 32) {
        const std::uint32_t kind = random() % 4;
        const auto exponent = static_cast<std::uint32_t>(random() % 256);
        for (std::size_t j = i; j < std::min(i + 32, count); ++j) {
            const auto bits = static_cast<std::uint32_t>(random());
            // Of one magnitude, so that a block has many ties and near ties, or of any.
            values[j] = std::bit_cast<float>(
                kind == 0 ? bits : (bits & 0x807f'ffff & ~(kind << 18)) | (exponent << 23));
        }
    }
    return values;
}

TEST(WireKernels, give_the_same_bits_with_and_without_vectors) {
    const WireKernels* vector = vector_wire_kernels();
    if (vector == nullptr) GTEST_SKIP() << "this processor has no vector kernels";
    const WireKernels& plain = plain_wire_kernels();
    for (std::uint32_t seed = 0; seed < 300; ++seed) {
        const std::size_t count = 32 * (1 + seed % 67);
        const auto values = seed % 2 == 0
                                ? wild_values(count, seed)
                                : bell_values(count, std::ldexp(1.0F, int(seed) / 10 - 15), seed);
        const auto compare = [&](auto encode_with, auto decode_with, auto add_with,
                                 std::size_t bytes, std::size_t used) {
            std::vector<std::byte> one(bytes), other(bytes);
            (plain.*encode_with)(values.data(), used, one.data());
            (vector->*encode_with)(values.data(), used, other.data());
            EXPECT_EQ(one, other) << seed;
            std::vector<float> first(used), second(used);
            (plain.*decode_with)(one.data(), used, first.data());
            (vector->*decode_with)(one.data(), used, second.data());
            EXPECT_TRUE(same_bits(first, second)) << seed;
            first.assign(values.begin(), values.begin() + std::ptrdiff_t(used));
            second = first;
            (plain.*add_with)(one.data(), used, first.data());
            (vector->*add_with)(one.data(), used, second.data());
            EXPECT_TRUE(same_bits(first, second)) << seed;
        };
        const std::size_t odd = count - seed % 9;
        compare(&WireKernels::encode_f16, &WireKernels::decode_f16, &WireKernels::decode_add_f16,
                2 * odd, odd);
        compare(&WireKernels::encode_q8, &WireKernels::decode_q8, &WireKernels::decode_add_q8,
                count / 32 * 34, count);
    }
}

TEST(WireKernels, decode_any_bytes_alike) {
    const WireKernels* vector = vector_wire_kernels();
    if (vector == nullptr) GTEST_SKIP() << "this processor has no vector kernels";
    std::mt19937 random(8);
    std::vector<std::byte> bytes(34 * 512);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    std::vector<float> one(32 * 512, 0.1F), other(32 * 512, 0.1F);
    plain_wire_kernels().decode_add_q8(bytes.data(), one.size(), one.data());
    vector->decode_add_q8(bytes.data(), other.size(), other.data());
    EXPECT_TRUE(same_bits(one, other));
    // The scale times the quant, computed in double precision, is what comes out: nothing is lost.
    plain_wire_kernels().decode_q8(bytes.data(), one.size(), one.data());
    for (std::size_t i = 0; i < one.size(); ++i) {
        const std::byte* block = bytes.data() + i / 32 * 34;
        const double exact = double{scale_of(block)} * static_cast<std::int8_t>(block[2 + i % 32]);
        if (!std::isnan(exact)) {
            EXPECT_EQ(double{one[i]}, exact);
        }
    }
}

}  // namespace
}  // namespace exomesh::runner
