// How the system shares processors among threads that compute and one that mostly waits.
#pragma once

namespace exomesh::platform {

// The calling thread gets short turns, and so gets one soon after it wakes where all processors
// compute: Linux (6.12 and newer) cuts off a longer turn for a shorter one, and lets it end
// otherwise, which takes milliseconds (EEVDF; the runtime of sched_setattr(2) is the length of a
// turn). Its share of the processor stays what it is, and threads and processes that it starts have
// turns of the usual length. Elsewhere nothing happens.
void prefer_short_turns();

}  // namespace exomesh::platform
