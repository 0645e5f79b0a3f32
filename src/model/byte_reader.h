// Values off the front of a file's bytes, in the file's order; every read is checked against what
// is left.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <format>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "base/result.h"

namespace exomesh::model {

static_assert(std::endian::native == std::endian::little, "GGUF values are copied as they are");

// The bytes must outlive the reader and the views it hands out.
class ByteReader {
  public:
    explicit ByteReader(std::span<const std::byte> file) : file_(file) {}

    [[nodiscard]] std::uint64_t offset_bytes() const { return offset_bytes_; }
    [[nodiscard]] std::uint64_t left_bytes() const { return file_.size() - offset_bytes_; }

    // `what` names the value in messages.
    template <typename T>
    Result<T> number(std::string_view what) {
        if (left_bytes() < sizeof(T)) return truncated(what, sizeof(T));
        T value;
        std::memcpy(&value, file_.data() + offset_bytes_, sizeof(T));
        offset_bytes_ += sizeof(T);
        return value;
    }

    // `size_bytes` is known to be left.
    const std::byte* take(std::uint64_t size_bytes) {
        EXO_ASSERT(size_bytes <= left_bytes());
        const std::byte* data = file_.data() + offset_bytes_;
        offset_bytes_ += size_bytes;
        return data;
    }

    Result<std::string_view> string(std::string_view what) {
        EXO_TRY_ASSIGN(const auto size_bytes, number<std::uint64_t>(what));
        if (size_bytes > left_bytes()) return truncated(what, size_bytes);
        return std::string_view(reinterpret_cast<const char*>(take(size_bytes)), size_bytes);
    }

    [[nodiscard]] std::unexpected<Error> truncated(std::string_view what,
                                                   std::uint64_t wanted_bytes) const {
        return fail(ErrorCode::corrupt_data,
                    std::format("the file is truncated: {} at byte {} takes {} bytes and only {} "
                                "are left.",
                                what, offset_bytes_, wanted_bytes, left_bytes()),
                    "Download the file again: it is incomplete or damaged.");
    }

  private:
    std::span<const std::byte> file_;
    std::uint64_t offset_bytes_ = 0;
};

}  // namespace exomesh::model
