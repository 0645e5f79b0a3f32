#include "main/core_sharing.h"

#include <algorithm>
#include <cstddef>

namespace exomesh::main {

namespace {

// Ranks of one machine wait for each other's last bit of work, often longer than a link's usual
// moment; to sleep and be woken takes longer still, above all in a virtual machine.
constexpr std::uint32_t local_spin_us = 300;

}  // namespace

CoreSharing share_cores(std::uint32_t local_count, std::uint32_t peer_count,
                        const std::vector<std::string>& devices, std::uint32_t thread_count,
                        std::uint32_t core_count) {
    std::uint32_t sharing_count = 0;
    for (std::size_t rank = 0; rank < local_count; ++rank) {
        const bool is_on_cpu = devices.empty() || devices[rank] == "cpu" || devices[rank] == "auto";
        if (is_on_cpu) ++sharing_count;
    }
    std::uint32_t local = thread_count;
    if (local == 0 && sharing_count > 1) local = std::max(1U, core_count / sharing_count);
    CoreSharing out;
    out.thread_counts.assign(local_count, local);
    out.thread_counts.resize(local_count + peer_count, thread_count);
    if (peer_count == 0) out.spin_us = local_spin_us;
    // A rank that spins while another waits for its core makes both slow.
    if (local * sharing_count > core_count) out.spin_us = 0;
    return out;
}

}  // namespace exomesh::main
