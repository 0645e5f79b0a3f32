// What ggml and its backends say: kept in memory, quiet by default.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace exomesh::device {

inline constexpr std::size_t backend_log_lines_max = 500;

enum class LogEcho { quiet, to_stderr };

// Takes over ggml's global log. EXOMESH_GGML_LOG=1 in the environment echoes lines to stderr as
// well. Repeated calls are harmless.
void capture_backend_log();
void set_backend_log_echo(LogEcho echo);

// The last lines, oldest first. Any thread.
[[nodiscard]] std::vector<std::string> backend_log();

}  // namespace exomesh::device
