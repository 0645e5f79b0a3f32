// A file mapped read-only into memory: the seam through which model files are read.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace exomesh::platform {

class MappedFile {
  public:
    // not_found, io; an empty file maps to an empty span. Pages are read on first touch.
    [[nodiscard]] static Result<MappedFile> open(const std::string& path);

    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

    // Tells the system that these bytes' pages may be dropped from memory (they come back from the
    // file when touched again). A hint: nothing can fail.
    void drop(std::size_t offset_bytes, std::size_t size_bytes) const;

  private:
    MappedFile(const std::byte* data, std::size_t size_bytes)
        : data_(data), size_bytes_(size_bytes) {}
    const std::byte* data_ = nullptr;
    std::size_t size_bytes_ = 0;
};

}  // namespace exomesh::platform
