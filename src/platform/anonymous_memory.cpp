#include "platform/anonymous_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

namespace exomesh::platform {

std::uint64_t available_memory_bytes() {
    std::ifstream file("/proc/meminfo");
    std::string name;
    std::string unit;
    std::uint64_t kibibytes = 0;
    while (file >> name >> kibibytes) {
        if (name == "MemAvailable:") return kibibytes * 1024;
        std::getline(file, unit);
    }
    return 0;
}

Result<AnonymousMemory> AnonymousMemory::reserve(std::size_t size_bytes) {
    if (size_bytes == 0) return AnonymousMemory();
    const std::uint64_t available_bytes = available_memory_bytes();
    const auto mebibytes = [](std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
    if (available_bytes != 0 && size_bytes > available_bytes) {
        return fail(ErrorCode::resource_exhausted,
                    mebibytes(size_bytes) + " of memory are needed, " + mebibytes(available_bytes) +
                        " are available.");
    }
    void* data =
        ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        return fail(ErrorCode::resource_exhausted, "the system refused " + mebibytes(size_bytes) +
                                                       " of memory: " + std::strerror(errno) + ".");
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

}  // namespace exomesh::platform
