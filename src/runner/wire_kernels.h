// The loops of wire_codec.h: a plain form and one for x86-64 with AVX2 and F16C. Both give the same
// bits, NaN apart, of which there are many. For wire_codec.cpp and its tests.
#pragma once

#include <cstddef>

#include "runner/wire_codec.h"

namespace exomesh::runner {

inline constexpr std::size_t q8_block_values = wire_block_values;
inline constexpr std::size_t q8_block_bytes = 2 + q8_block_values;  // F16 scale, then signed bytes

// Counts for Q8_0 are multiples of q8_block_values; the F16 kernels take any.
struct WireKernels {
    using Encode = void (*)(const float* values, std::size_t count, std::byte* encoded);
    using Decode = void (*)(const std::byte* encoded, std::size_t count, float* values);

    Encode encode_f16;
    Decode decode_f16;
    Decode decode_add_f16;
    Encode encode_q8;
    Decode decode_q8;
    Decode decode_add_q8;
};

[[nodiscard]] const WireKernels& plain_wire_kernels();
// nullptr where this processor or architecture has none.
[[nodiscard]] const WireKernels* vector_wire_kernels();

}  // namespace exomesh::runner
