// A file mapped read-only into memory: the seam through which model files are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace exomesh::platform {

// Which file this is, and in which state: every change of its bytes that the file system sees
// changes one of these. Comparable on one machine alone.
struct FileStamp {
    std::uint64_t device = 0, inode = 0;
    std::uint64_t size_bytes = 0;
    std::int64_t modified_ns = 0, changed_ns = 0;
    bool operator==(const FileStamp&) const = default;
};

class MappedFile {
  public:
    // not_found, io; an empty file maps to an empty span. Pages are read on first touch.
    [[nodiscard]] static Result<MappedFile> open(const std::string& path);

    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();

    [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

    // As it was when it was opened.
    [[nodiscard]] const FileStamp& stamp() const { return stamp_; }

    // Tells the system that these bytes' pages may be dropped from memory (they come back from the
    // file when touched again). A hint: nothing can fail.
    void drop(std::size_t offset_bytes, std::size_t size_bytes) const;

  private:
    MappedFile(const std::byte* data, std::size_t size_bytes, const FileStamp& stamp)
        : data_(data), size_bytes_(size_bytes), stamp_(stamp) {}
    const std::byte* data_ = nullptr;
    std::size_t size_bytes_ = 0;
    FileStamp stamp_;
};

}  // namespace exomesh::platform
