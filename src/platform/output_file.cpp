#include "platform/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace exomesh::platform {

namespace {

std::unexpected<Error> cannot_write(const std::string& path, int error_number) {
    const std::string hint = error_number == ENOSPC ? "Make room there, or name another file."
                                                    : "Name a file that can be written.";
    return fail(
        ErrorCode::io,
        "cannot write '" + path + "': " + std::system_category().message(error_number) + ".", hint);
}

bool is_regular_or_new(const std::string& path) {
    struct stat information{};
    return ::stat(path.c_str(), &information) != 0 || S_ISREG(information.st_mode);
}

}  // namespace

OutputFile::OutputFile(Descriptor file, std::string path, std::string draft)
    : file_(std::move(file)), path_(std::move(path)), draft_(std::move(draft)) {}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : file_(std::move(other.file_)),
      path_(std::move(other.path_)),
      draft_(std::exchange(other.draft_, "")) {}

OutputFile::~OutputFile() {
    if (!draft_.empty()) ::unlink(draft_.c_str());
}

Result<OutputFile> OutputFile::create(const std::string& path) {
    constexpr mode_t mode =
        S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH;  // less umask
    const std::string draft = is_regular_or_new(path) ? path + ".draft" : "";
    const std::string& opened = draft.empty() ? path : draft;
    Descriptor file(::open(opened.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (file.get() < 0) return cannot_write(path, errno);
    return OutputFile(std::move(file), path, draft);
}

Result<void> OutputFile::write(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(file_.get(), text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return cannot_write(path_, errno);
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<void> OutputFile::finish() {
    // Some file systems say only now that there was no room.
    if (::close(file_.release()) != 0) return cannot_write(path_, errno);
    if (draft_.empty()) return {};
    if (std::rename(draft_.c_str(), path_.c_str()) != 0) return cannot_write(path_, errno);
    draft_.clear();
    return {};
}

}  // namespace exomesh::platform
