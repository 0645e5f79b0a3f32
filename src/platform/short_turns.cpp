#include "platform/short_turns.h"

#ifdef __linux__
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#endif

namespace exomesh::platform {

#ifdef __linux__

namespace {

constexpr std::uint64_t turn_ns = 100'000;     // the least there is
constexpr std::uint64_t reset_on_fork = 0x01;  // SCHED_FLAG_RESET_ON_FORK

}  // namespace

void prefer_short_turns() {
    sched_attr attributes{};
    if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
    attributes.sched_runtime = turn_ns;
    // Not for threads and processes that are started from here: they may be those that compute.
    attributes.sched_flags |= reset_on_fork;
    // Kernels before 6.12 pass over the turn's length.
    ::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

#else

void prefer_short_turns() {}

#endif

}  // namespace exomesh::platform
