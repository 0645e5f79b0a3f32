// The kinds of metadata values of a GGUF file, by their numbers in it (ggml's docs/gguf.md).
#pragma once

#include <cstdint>

namespace exomesh::model {

enum class GgufKind : std::uint32_t {
    u8 = 0,
    i8 = 1,
    u16 = 2,
    i16 = 3,
    u32 = 4,
    i32 = 5,
    f32 = 6,
    boolean = 7,
    string = 8,
    array = 9,
    u64 = 10,
    i64 = 11,
    f64 = 12,
};
inline constexpr std::uint32_t gguf_kind_count = 13;

}  // namespace exomesh::model
