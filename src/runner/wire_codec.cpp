#include "runner/wire_codec.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/assert.h"
#include "runner/wire_kernels.h"

namespace exomesh::runner {
namespace {

const WireKernels& kernels() {
    static const WireKernels& chosen =
        vector_wire_kernels() != nullptr ? *vector_wire_kernels() : plain_wire_kernels();
    return chosen;
}

// Values of whole blocks, and what is left for a last one that is not full.
struct Blocks {
    std::size_t full_count = 0;
    std::size_t rest_count = 0;
    std::size_t rest_offset_bytes = 0;
};

Blocks blocks_of(std::size_t count) {
    const std::size_t rest_count = count % q8_block_values;
    return {.full_count = count - rest_count,
            .rest_count = rest_count,
            .rest_offset_bytes = count / q8_block_values * q8_block_bytes};
}

}  // namespace

std::string_view wire_type_name(WireType type) {
    switch (type) {
        case WireType::f32:
            return "f32";
        case WireType::f16:
            return "f16";
        case WireType::q8_0:
            return "q8";
    }
    return "unknown";
}

Result<WireType> parse_wire_type(std::string_view name) {
    for (const WireType type : {WireType::f32, WireType::f16, WireType::q8_0})
        if (name == wire_type_name(type)) return type;
    return fail(ErrorCode::invalid_argument,
                "there is no wire type '" + std::string(name.substr(0, 32)) + "'.",
                "Use f32, f16 or q8.");
}

std::size_t encoded_size_bytes(WireType type, std::size_t count) {
    switch (type) {
        case WireType::f32:
            return count * sizeof(float);
        case WireType::f16:
            return count * 2;
        case WireType::q8_0:
            return (count + q8_block_values - 1) / q8_block_values * q8_block_bytes;
    }
    return 0;
}

void encode(WireType type, std::span<const float> values, std::span<std::byte> encoded) {
    EXO_ASSERT(encoded.size() == encoded_size_bytes(type, values.size()));
    if (values.empty()) return;
    switch (type) {
        case WireType::f32:
            std::memcpy(encoded.data(), values.data(), encoded.size());
            return;
        case WireType::f16:
            kernels().encode_f16(values.data(), values.size(), encoded.data());
            return;
        case WireType::q8_0: {
            const Blocks blocks = blocks_of(values.size());
            kernels().encode_q8(values.data(), blocks.full_count, encoded.data());
            if (blocks.rest_count == 0) return;
            std::array<float, q8_block_values> rest{};
            std::ranges::copy(values.last(blocks.rest_count), rest.begin());
            kernels().encode_q8(rest.data(), rest.size(),
                                encoded.data() + blocks.rest_offset_bytes);
            return;
        }
    }
}

void decode(WireType type, std::span<const std::byte> encoded, std::span<float> values) {
    EXO_ASSERT(encoded.size() == encoded_size_bytes(type, values.size()));
    if (values.empty()) return;
    switch (type) {
        case WireType::f32:
            std::memcpy(values.data(), encoded.data(), encoded.size());
            return;
        case WireType::f16:
            kernels().decode_f16(encoded.data(), values.size(), values.data());
            return;
        case WireType::q8_0: {
            const Blocks blocks = blocks_of(values.size());
            kernels().decode_q8(encoded.data(), blocks.full_count, values.data());
            if (blocks.rest_count == 0) return;
            std::array<float, q8_block_values> rest;
            kernels().decode_q8(encoded.data() + blocks.rest_offset_bytes, rest.size(),
                                rest.data());
            std::copy_n(rest.begin(), blocks.rest_count, values.last(blocks.rest_count).begin());
            return;
        }
    }
}

void decode_add(WireType type, std::span<const std::byte> encoded, std::span<float> values) {
    EXO_ASSERT(encoded.size() == encoded_size_bytes(type, values.size()));
    if (values.empty()) return;
    switch (type) {
        case WireType::f32:
            for (std::size_t i = 0; i < values.size(); ++i) {
                float value = 0.0F;
                std::memcpy(&value, encoded.data() + i * sizeof value, sizeof value);
                values[i] += value;
            }
            return;
        case WireType::f16:
            kernels().decode_add_f16(encoded.data(), values.size(), values.data());
            return;
        case WireType::q8_0: {
            const Blocks blocks = blocks_of(values.size());
            kernels().decode_add_q8(encoded.data(), blocks.full_count, values.data());
            if (blocks.rest_count == 0) return;
            std::array<float, q8_block_values> rest{};
            const std::span<float> target = values.last(blocks.rest_count);
            std::ranges::copy(target, rest.begin());
            kernels().decode_add_q8(encoded.data() + blocks.rest_offset_bytes, rest.size(),
                                    rest.data());
            std::copy_n(rest.begin(), target.size(), target.begin());
            return;
        }
    }
}

}  // namespace exomesh::runner
