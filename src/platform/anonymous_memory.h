// Page-aligned memory that reads as zero and is taken from the system as it is first written, and
// the size of the pages it comes in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace exomesh::platform {

class AnonymousMemory {
  public:
    // resource_exhausted where the system could not back it even with everything it has now.
    [[nodiscard]] static Result<AnonymousMemory> reserve(std::size_t size_bytes);

    AnonymousMemory() = default;
    AnonymousMemory(AnonymousMemory&& other) noexcept;
    AnonymousMemory& operator=(AnonymousMemory&& other) noexcept;
    ~AnonymousMemory();

    [[nodiscard]] std::span<std::byte> bytes() const { return {data_, size_bytes_}; }

  private:
    AnonymousMemory(std::byte* data, std::size_t size_bytes)
        : data_(data), size_bytes_(size_bytes) {}
    std::byte* data_ = nullptr;
    std::size_t size_bytes_ = 0;
};

// Asks for huge pages (2 MiB on x86-64) inside memory that is not written yet. Worth it for what is
// read as a whole again and again, such as weights: with pages of 4 KiB, translating addresses
// takes a good part of the time. Only advice; without effect where the system has none to give.
void prefer_huge_pages(std::span<std::byte> memory);

}  // namespace exomesh::platform
