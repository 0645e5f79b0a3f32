// Small files that hold secrets: readable by their owner alone.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace exomesh::platform {

inline constexpr std::size_t private_file_bytes_max = 64 << 10;

enum class Creation { created, existed };

// Writes a new file, which appears under its name whole or not at all. Where one of that name
// exists it is left alone. Of several that create at once one succeeds. The folder is made, for its
// owner alone, where it is missing.
[[nodiscard]] Result<Creation> create_private_file(const std::string& path,
                                                   std::span<const std::byte> bytes);

// not_found; resource_exhausted beyond private_file_bytes_max; io, also where others may read it.
[[nodiscard]] Result<std::vector<std::byte>> read_private_file(const std::string& path);

}  // namespace exomesh::platform
