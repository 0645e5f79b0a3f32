#include "platform/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "platform/descriptor.h"

namespace exomesh::platform {
namespace {

std::unexpected<Error> system_failure(const std::string& what, const std::string& path,
                                      int error_number) {
    return fail(ErrorCode::io, "cannot " + what + " '" + path +
                                   "': " + std::system_category().message(error_number) + ".");
}

Result<void> make_folder(const std::filesystem::path& folder) {
    std::error_code error;
    if (folder.empty() || std::filesystem::is_directory(folder, error)) return {};
    if (folder.has_parent_path()) EXO_TRY(make_folder(folder.parent_path()));
    if (::mkdir(folder.c_str(), S_IRWXU) != 0 && errno != EEXIST)
        return system_failure("make the folder", folder.string(), errno);
    return {};
}

Result<void> write_all(const Descriptor& file, std::span<const std::byte> bytes,
                       const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return system_failure("write", path, errno);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    if (::fsync(file.get()) != 0) return system_failure("write", path, errno);
    return {};
}

}  // namespace

Result<Creation> create_private_file(const std::string& path, std::span<const std::byte> bytes) {
    EXO_TRY(make_folder(std::filesystem::path(path).parent_path()));
    std::string draft = path + ".XXXXXX";
    const Descriptor file(::mkostemp(draft.data(), O_CLOEXEC));  // 0600, whatever the umask
    if (file.get() < 0) return system_failure("create", path, errno);
    const Result<void> written = write_all(file, bytes, draft);
    // A link, unlike a rename, never replaces what another process has put there meanwhile.
    const int link_error = written && ::link(draft.c_str(), path.c_str()) != 0 ? errno : 0;
    ::unlink(draft.c_str());
    EXO_TRY(written);
    if (link_error == EEXIST) return Creation::existed;
    if (link_error != 0) return system_failure("create", path, link_error);
    return Creation::created;
}

Result<std::vector<std::byte>> read_private_file(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0 && errno == ENOENT)
        return fail(ErrorCode::not_found, "there is no file '" + path + "'.");
    if (file.get() < 0) return system_failure("open", path, errno);
    struct stat information{};
    if (::fstat(file.get(), &information) != 0) return system_failure("read", path, errno);
    if (!S_ISREG(information.st_mode))
        return fail(ErrorCode::io, "'" + path + "' is not a regular file.");
    if ((information.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fail(ErrorCode::io, "'" + path + "' holds a secret, but others may read it.",
                    "Run: chmod 600 '" + path + "'");
    }
    std::vector<std::byte> bytes(private_file_bytes_max + 1);
    std::size_t size = 0;
    while (size < bytes.size()) {
        const ssize_t count = ::read(file.get(), bytes.data() + size, bytes.size() - size);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return system_failure("read", path, errno);
        if (count == 0) break;
        size += static_cast<std::size_t>(count);
    }
    if (size > private_file_bytes_max)
        return fail(ErrorCode::resource_exhausted, "'" + path + "' is too large for its purpose.");
    bytes.resize(size);
    return bytes;
}

}  // namespace exomesh::platform
