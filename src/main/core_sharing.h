// How the ranks of a cluster share the cores of this machine. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace exomesh::main {

struct CoreSharing {
    std::vector<std::uint32_t> thread_counts;  // of each rank; 0: one per physical core of its own
    std::optional<std::uint32_t> spin_us;      // nothing: as long as over any link
};

// The first `local_count` ranks are processes of this machine with `core_count` cores, on the
// devices of these names (of all ranks; empty: on its CPU all of them); the others have a machine
// of their own. `thread_count` as it was asked for.
[[nodiscard]] CoreSharing share_cores(std::uint32_t local_count, std::uint32_t peer_count,
                                      const std::vector<std::string>& devices,
                                      std::uint32_t thread_count, std::uint32_t core_count);

}  // namespace exomesh::main
