// Runs a program and waits for it: for work that may crash, hang or leak and must not take this
// process along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace exomesh::platform {

inline constexpr std::size_t child_output_bytes_max = 16 << 20;

struct ChildCommand {
    std::vector<std::string> arguments = {};  // the first is the program's path, searched nowhere
    std::vector<std::pair<std::string, std::string>> environment = {};  // on top of this process's
    std::uint64_t timeout_ms = 60'000;
    // Called on the caller's thread at least twice a second while the child writes or runs, with
    // all it wrote on standard error so far: for those who show how far it is.
    std::function<void(std::string_view errors)> on_wait = {};
};

enum class ChildEnd { exited, killed_by_signal, timed_out };

struct ChildResult {
    ChildEnd end = ChildEnd::exited;
    int code = 0;        // exit status or signal number
    std::string output;  // standard output
    std::string errors;  // standard error
};

// Blocks until the child has ended; its input is empty. not_found or io where it cannot be started,
// resource_exhausted where it writes more than child_output_bytes_max (it is killed then).
[[nodiscard]] Result<ChildResult> run_child(const ChildCommand& command);

}  // namespace exomesh::platform
