// How much memory this process can still take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace exomesh::platform {

// 0 where the system does not say.
struct SystemMemory {
    std::uint64_t total_bytes = 0;
    std::uint64_t free_bytes = 0;  // without swapping; what the page cache would give back is free
};

// As the system estimates it, inside the limits of the process's control groups (version 2; a
// container is one). `root` is the folder that holds proc and sys: another one in tests.
[[nodiscard]] SystemMemory system_memory(const std::string& root = "/");

// resource_exhausted where so much could not be had even with everything that is free now: better
// said before than by a process that is killed amid loading.
[[nodiscard]] Result<> check_memory(std::uint64_t size_bytes);

}  // namespace exomesh::platform
