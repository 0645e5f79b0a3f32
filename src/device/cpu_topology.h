// The processor cores this process may use.
#pragma once

#include <cstdint>
#include <string>

namespace exomesh::device {

// Physical cores in the process's affinity mask (two hardware threads of one core count once), cut
// to the CPU quota of its cgroup; at least 1. More threads than this make decoding slower: they
// wait for the same memory.
[[nodiscard]] std::uint32_t physical_core_count();

// "AMD Ryzen 7 7840U", or "CPU" where the system does not tell.
[[nodiscard]] std::string processor_name();

}  // namespace exomesh::device
