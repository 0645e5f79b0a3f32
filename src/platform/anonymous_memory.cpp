#include "platform/anonymous_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "platform/system_memory.h"

namespace exomesh::platform {

Result<AnonymousMemory> AnonymousMemory::reserve(std::size_t size_bytes) {
    if (size_bytes == 0) return AnonymousMemory();
    EXO_TRY(check_memory(size_bytes));
    void* data =
        ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        return fail(ErrorCode::resource_exhausted,
                    "the system refused " + std::to_string(size_bytes >> 20) +
                        " MiB of memory: " + std::strerror(errno) + ".");
    }
    return AnonymousMemory(static_cast<std::byte*>(data), size_bytes);
}

AnonymousMemory::AnonymousMemory(AnonymousMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

AnonymousMemory& AnonymousMemory::operator=(AnonymousMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
}

AnonymousMemory::~AnonymousMemory() {
    if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

void prefer_huge_pages([[maybe_unused]] std::span<std::byte> memory) {
#ifdef MADV_HUGEPAGE
    // madvise wants the start of a page; the first one is left as it is.
    const auto page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
    const std::size_t skipped_bytes = (page_bytes - begin % page_bytes) % page_bytes;
    if (memory.size() <= skipped_bytes) return;
    const std::span<std::byte> pages = memory.subspan(skipped_bytes);
    ::madvise(pages.data(), pages.size(), MADV_HUGEPAGE);
#endif
}

}  // namespace exomesh::platform
