// The clocks of the system: the one seam through which time enters.
#pragma once

#include <cstdint>

namespace exomesh::platform {

// Microseconds since some fixed moment; never goes back. For durations.
[[nodiscard]] std::uint64_t monotonic_us();
// The same clock in nanoseconds.
[[nodiscard]] std::uint64_t monotonic_ns();

// How long the processors have computed for this process so far, all of its threads together.
[[nodiscard]] std::uint64_t process_cpu_ns();

// Seconds since 1970-01-01 UTC. May jump when the system's clock is set. For time stamps.
[[nodiscard]] std::int64_t unix_s();

}  // namespace exomesh::platform
