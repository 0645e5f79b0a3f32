// Runs a program and waits for it: for work that may crash, hang or leak and must not take this
// process along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace exomesh::platform {

inline constexpr std::size_t child_output_bytes_max = 16 << 20;

struct ChildCommand {
    std::vector<std::string> arguments = {};  // the first is the program's path, searched nowhere
    std::vector<std::pair<std::string, std::string>> environment = {};  // on top of this process's
    std::uint64_t timeout_ms = 60'000;
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
