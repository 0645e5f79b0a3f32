// The entries of a folder. std::filesystem's own loop throws when a disk or a network share fails
// while it is read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace exomesh::platform {

// Sorted. Empty where the folder cannot be read; what was read before a failure counts.
[[nodiscard]] std::vector<std::filesystem::path> paths_in(const std::string& folder);

}  // namespace exomesh::platform
