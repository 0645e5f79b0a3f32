// What ggml and its backends say: quiet by default, but the last complaints are kept for the errors
// they explain.
#pragma once

#include <cstddef>
#include <string>

namespace exomesh::device {

inline constexpr std::size_t backend_complaints_max = 4;

// Takes over ggml's global log. EXOMESH_GGML_LOG=1 in the environment echoes lines to stderr as
// well. Repeated calls are harmless.
void capture_backend_log();

// The last warnings and errors as sentences to put behind an error message, " Its log says: ...";
// empty where there were none. Any thread.
[[nodiscard]] std::string backend_complaints();

}  // namespace exomesh::device
