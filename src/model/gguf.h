// The metadata and the tensor index of a GGUF file (format: ggml's docs/gguf.md, versions 2 and 3,
// little endian). Pure: it reads bytes it is given (usually a memory-mapped file) and never touches
// the tensors' contents.
//
// Hostile bytes give an Error, never a crash, an overflow or memory out of proportion: every length
// is checked against the bytes that are left before anything is reserved (an array of one-byte
// numbers, which widen to eight bytes, is the worst), and the limits below hold.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/tensor_type.h"

namespace exomesh::model {

inline constexpr std::size_t gguf_metadata_count_max = 1 << 16;
inline constexpr std::size_t gguf_tensor_count_max = 1 << 17;
inline constexpr std::size_t gguf_name_bytes_max = 1 << 16;  // of a key or a tensor name
inline constexpr std::size_t gguf_array_count_max = 1 << 22;
inline constexpr std::uint64_t gguf_alignment_bytes_max = 1 << 20;

struct GgufArray;

// Integers of every width widen to 64 bits, f32 to double.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray>;

// Arrays of one element type; nested arrays are refused (no model uses them), and so are integers
// that do not fit in 63 bits.
struct GgufArray {
    std::variant<std::vector<std::int64_t>, std::vector<double>, std::vector<bool>,
                 std::vector<std::string>>
        values;
};

struct TensorInfo {
    std::string name;
    TensorType type = TensorType::f32;
    // ggml order: shape[0] is the contiguous dimension (a matrix's input size), shape[1] its rows.
    std::array<std::uint64_t, 4> shape = {1, 1, 1, 1};
    std::uint64_t offset_bytes = 0;  // from the start of the file
    std::uint64_t size_bytes = 0;

    [[nodiscard]] std::uint64_t element_count() const {
        return shape[0] * shape[1] * shape[2] * shape[3];
    }
};

class Gguf {
  public:
    // Parses the header of `file`, which is the whole file: tensors must lie inside it, be aligned
    // and not overlap. The result owns copies; `file` may go away.
    [[nodiscard]] static Result<Gguf> parse(std::span<const std::byte> file);

    // Typed look-ups: not_found where the key is missing, corrupt_data where it has another type.
    // Integer look-ups accept any integer type whose value fits.
    [[nodiscard]] Result<std::uint64_t> unsigned_integer(std::string_view key) const;
    [[nodiscard]] Result<double> number(std::string_view key) const;  // integers convert
    [[nodiscard]] Result<bool> boolean(std::string_view key) const;
    [[nodiscard]] Result<std::string> string(std::string_view key) const;

    // The value, or nullptr where the key is missing. Valid as long as this object.
    [[nodiscard]] const GgufValue* find(std::string_view key) const;
    [[nodiscard]] const std::vector<std::string>* strings(std::string_view key) const;
    [[nodiscard]] const std::vector<std::int64_t>* integers(std::string_view key) const;
    [[nodiscard]] const std::vector<double>* numbers(std::string_view key) const;
    [[nodiscard]] const std::vector<bool>* booleans(std::string_view key) const;

    [[nodiscard]] const TensorInfo* tensor(std::string_view name) const;
    [[nodiscard]] const std::vector<TensorInfo>& tensors() const { return tensors_; }
    [[nodiscard]] const std::map<std::string, GgufValue, std::less<>>& metadata() const {
        return metadata_;
    }

  private:
    std::map<std::string, GgufValue, std::less<>> metadata_;
    std::vector<TensorInfo> tensors_;
    std::map<std::string, std::size_t, std::less<>> tensor_index_;
};

}  // namespace exomesh::model
