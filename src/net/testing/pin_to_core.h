// For benches: ranks as they run, each on a core of its own.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <cstddef>
#include <vector>

namespace exomesh::net::testing {

// The calling thread; ranks share cores where there are fewer than ranks.
inline void pin_to_core(std::size_t rank) {
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
        if (CPU_ISSET(core, &allowed)) cores.push_back(core);
    }
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[rank % cores.size()], &one);
    ::pthread_setaffinity_np(::pthread_self(), sizeof one, &one);
}

}  // namespace exomesh::net::testing
