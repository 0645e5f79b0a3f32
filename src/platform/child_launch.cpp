#include "platform/child_launch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

extern "C" char** environ;  // NOLINT(readability-redundant-declaration): POSIX declares it nowhere

namespace exomesh::platform {
namespace {

std::unexpected<Error> no_pipe() {
    return fail(ErrorCode::io, std::string("cannot make a pipe: ") + std::strerror(errno) + ".");
}

// A process started without standard descriptors gets their numbers for its next files.
Result<Descriptor> above_standard(Descriptor descriptor) {
    if (descriptor.get() > STDERR_FILENO) return descriptor;
    Descriptor moved(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (moved.get() < 0) return no_pipe();
    return moved;
}

}  // namespace

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return no_pipe();
    Descriptor first(ends[0]);
    Descriptor second(ends[1]);
    EXO_TRY_ASSIGN(auto reader, above_standard(std::move(first)));
    EXO_TRY_ASSIGN(auto writer, above_standard(std::move(second)));
    return Pipe{std::move(reader), std::move(writer)};
}

std::vector<std::string> merged_environment(
    const std::vector<std::pair<std::string, std::string>>& changes) {
    std::vector<std::string> merged;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const bool replaced = std::ranges::any_of(
            changes, [&](const auto& pair) { return text.starts_with(pair.first + "="); });
        if (!replaced) merged.emplace_back(text);
    }
    for (const auto& [name, value] : changes) {
        merged.emplace_back(name).append("=").append(value);
    }
    return merged;
}

std::vector<char*> as_pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace exomesh::platform
