#include "platform/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace exomesh::platform {

namespace {

std::int64_t nanoseconds(const timespec& time) {
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileStamp stamp_of(const struct stat& information) {
    return {.device = information.st_dev,
            .inode = information.st_ino,
            .size_bytes = static_cast<std::uint64_t>(information.st_size),
            .modified_ns = nanoseconds(information.st_mtim),
            .changed_ns = nanoseconds(information.st_ctim)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
    // O_NONBLOCK: opening a named pipe by mistake would wait for its writer for ever.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        const auto code = errno == ENOENT ? ErrorCode::not_found : ErrorCode::io;
        return fail(code, "cannot open '" + path + "': " + std::strerror(errno) + ".");
    }
    struct stat information{};
    if (::fstat(file, &information) != 0 || !S_ISREG(information.st_mode)) {
        ::close(file);
        return fail(ErrorCode::invalid_argument, "'" + path + "' is not a regular file.",
                    "Name the file itself.");
    }
    const auto size_bytes = static_cast<std::size_t>(information.st_size);
    if (size_bytes == 0) {
        ::close(file);
        return MappedFile(nullptr, 0, stamp_of(information));
    }
    void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file, 0);
    const int map_error = errno;
    ::close(file);
    if (data == MAP_FAILED) {
        const auto code = map_error == ENOMEM ? ErrorCode::resource_exhausted : ErrorCode::io;
        return fail(code, "cannot map '" + path + "': " + std::strerror(map_error) + ".");
    }
    return MappedFile(static_cast<const std::byte*>(data), size_bytes, stamp_of(information));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      stamp_(other.stamp_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(stamp_, other.stamp_);
    return *this;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

void MappedFile::drop(std::size_t offset_bytes, std::size_t size_bytes) const {
    if (offset_bytes >= size_bytes_) return;
    // madvise wants whole pages; what is dropped too much comes back.
    const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = offset_bytes / page_bytes * page_bytes;
    const std::size_t end = offset_bytes + std::min(size_bytes, size_bytes_ - offset_bytes);
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace exomesh::platform
