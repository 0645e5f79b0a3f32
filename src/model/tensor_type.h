// The element types of GGUF tensors and their block sizes. The numbers are the file format's (and
// ggml's `ggml_type`), so that a cast converts; a test in engine/ compares this table with ggml's
// own.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace exomesh::model {

enum class TensorType : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q8_1 = 9,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    q8_k = 15,
    iq4_nl = 20,
    i32 = 26,
    bf16 = 30,
    mxfp4 = 39,
};

struct TensorTypeTraits {
    TensorType type;
    std::string_view name;      // as ggml writes it: "q4_0", "q4_K"
    std::uint32_t block_count;  // elements per block
    std::uint32_t block_bytes;  // bytes per block
};

// Every supported type, in the order of the numbers.
[[nodiscard]] std::span<const TensorTypeTraits> tensor_types();

// Nothing for a number that is no supported type.
[[nodiscard]] std::optional<TensorTypeTraits> tensor_type_traits(std::uint32_t type);
[[nodiscard]] TensorTypeTraits tensor_type_traits(TensorType type);

}  // namespace exomesh::model
