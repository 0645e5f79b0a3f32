// How partial sums and hidden states travel between ranks: F32 as they are, F16, or Q8_0 (blocks of
// 32 values: an F16 scale and 32 bytes, as ggml has it). Pure; every rank gets the same bits from
// the same bytes, on every machine (but for which NaN a NaN is).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace exomesh::runner {

// Ranges of values that begin at multiples of this are ranges of bytes in every wire type.
inline constexpr std::size_t wire_block_values = 32;

enum class WireType : std::uint8_t { f32 = 0, f16 = 1, q8_0 = 2 };

[[nodiscard]] std::string_view wire_type_name(WireType type);  // "f32", "f16", "q8"
// invalid_argument for another name.
[[nodiscard]] Result<WireType> parse_wire_type(std::string_view name);

// Bytes of `count` values. Q8_0 pads the last block with zeros.
[[nodiscard]] std::size_t encoded_size_bytes(WireType type, std::size_t count);

// `encoded` has encoded_size_bytes(type, values.size()). Infinite and NaN values stay such in F32
// and F16, where 65,520 and above are infinite too; in Q8_0 a block with one, or with a magnitude
// above 8.3 million, decodes to NaN, so that a fault stays visible.
void encode(WireType type, std::span<const float> values, std::span<std::byte> encoded);
void decode(WireType type, std::span<const std::byte> encoded, std::span<float> values);
// values[i] += decoded[i]
void decode_add(WireType type, std::span<const std::byte> encoded, std::span<float> values);

}  // namespace exomesh::runner
