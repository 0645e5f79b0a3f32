// Writes GGUF version 3 files for tests: the counterpart of model/gguf.h. It checks nothing, so
// that tests can write files that are wrong on purpose.
//
//     GgufWriter writer;
//     writer.add("general.architecture", "llama").add("llama.block_count", std::uint32_t{2});
//     writer.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
//     writer.add_tensor("token_embd.weight", TensorType::f32, {64, 2}, bytes);
//     const std::vector<std::byte> file = writer.bytes();
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"
#include "model/gguf_kind.h"
#include "model/tensor_type.h"

namespace exomesh::model::testing {

template <typename T>
consteval GgufKind gguf_kind() {
    if constexpr (std::is_same_v<T, bool>) return GgufKind::boolean;
    if constexpr (std::is_same_v<T, std::string>) return GgufKind::string;
    if constexpr (std::is_floating_point_v<T>)
        return sizeof(T) == 4 ? GgufKind::f32 : GgufKind::f64;
    constexpr bool is_signed = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1) return is_signed ? GgufKind::i8 : GgufKind::u8;
    if constexpr (sizeof(T) == 2) return is_signed ? GgufKind::i16 : GgufKind::u16;
    if constexpr (sizeof(T) == 4) return is_signed ? GgufKind::i32 : GgufKind::u32;
    return is_signed ? GgufKind::i64 : GgufKind::u64;
}

class GgufWriter {
  public:
    // The kind in the file follows the C++ type: std::uint32_t writes u32, float writes f32.
    template <typename T>
        requires std::is_arithmetic_v<T>
    GgufWriter& add(std::string_view key, T value) {
        begin_value(key, gguf_kind<T>());
        append_number(metadata_, value);
        return *this;
    }
    GgufWriter& add(std::string_view key, std::string_view value);
    GgufWriter& add(std::string_view key, const char* value) {
        return add(key, std::string_view(value));
    }
    template <typename T>
    GgufWriter& add(std::string_view key, const std::vector<T>& values) {
        begin_value(key, GgufKind::array);
        append_number(metadata_, static_cast<std::uint32_t>(gguf_kind<T>()));
        append_number(metadata_, static_cast<std::uint64_t>(values.size()));
        for (const T& value : values) {
            if constexpr (std::is_same_v<T, std::string>) {
                append_string(metadata_, value);
            } else {
                append_number(metadata_, value);
            }
        }
        return *this;
    }
    // Any kind number with any bytes behind it.
    GgufWriter& add_raw(std::string_view key, std::uint32_t kind, std::span<const std::byte> value);

    // `shape` in ggml order; the data is placed behind the previous tensor's, aligned.
    GgufWriter& add_tensor(std::string_view name, TensorType type,
                           std::span<const std::uint64_t> shape, std::span<const std::byte> data);
    GgufWriter& add_tensor(std::string_view name, TensorType type,
                           std::initializer_list<std::uint64_t> shape,
                           std::span<const std::byte> data) {
        return add_tensor(name, type, std::span(shape.begin(), shape.size()), data);
    }
    // With any type number and any offset (relative to the data), and no data of its own.
    GgufWriter& add_raw_tensor(std::string_view name, std::uint32_t type,
                               std::span<const std::uint64_t> shape, std::uint64_t offset_bytes);

    // What the data is aligned to: set it before the first tensor. Writes no key: add
    // "general.alignment" too.
    void set_alignment(std::uint64_t alignment_bytes) { alignment_bytes_ = alignment_bytes; }
    void set_version(std::uint32_t version) { version_ = version; }

    [[nodiscard]] std::vector<std::byte> bytes() const;
    [[nodiscard]] Result<> write(const std::string& path) const;

  private:
    using Bytes = std::vector<std::byte>;

    template <typename T>
    static void append_number(Bytes& bytes, T value) {
        const auto raw = std::as_bytes(std::span(&value, 1));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    }
    static void append_string(Bytes& bytes, std::string_view text);
    void begin_value(std::string_view key, GgufKind kind);

    std::uint32_t version_ = 3;
    std::uint64_t alignment_bytes_ = 32;
    std::uint64_t metadata_count_ = 0;
    std::uint64_t tensor_count_ = 0;
    Bytes metadata_;
    Bytes tensor_index_;
    Bytes data_;
};

// The bytes a tensor of this type and shape takes.
[[nodiscard]] std::uint64_t tensor_size_bytes(TensorType type,
                                              std::span<const std::uint64_t> shape);

}  // namespace exomesh::model::testing
