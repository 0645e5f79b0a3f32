// What runs the other ranks on this device: child processes where the system allows them, threads
// of this process where it does not (iOS) and in tests.
//
// A host starts all of its runners together and starts them anew after one was lost: a rank of a
// cluster is of no use without the others.
//
// Threads: one thread starts and stops; any may call explain_loss() at any time, as the monitor of
// a cluster does that was opened with these runners.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/peer_id.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

class RunnerHost {
  public:
    RunnerHost() = default;
    RunnerHost(const RunnerHost&) = delete;
    RunnerHost& operator=(const RunnerHost&) = delete;
    virtual ~RunnerHost() = default;  // stop()

    // Ends the runners there are and starts `count` new ones, each for one session with this head;
    // returns once all can be reached. The addresses stay those of addresses().
    [[nodiscard]] virtual Result<void> start(std::uint32_t count, const net::PeerId& head) = 0;

    // Ends all runners, whatever they do.
    virtual void stop() = 0;

    // Of the runners that were started last: runner i is rank i + 1 of a cluster of local ranks.
    [[nodiscard]] virtual const std::vector<WorkerAddress>& addresses() const = 0;

    // Why this runner ended, for people; empty while it runs and where nobody knows (any more). May
    // wait a moment (100 ms), since links break before the system tells of the end.
    [[nodiscard]] virtual std::string explain_loss(std::size_t runner) = 0;
};

}  // namespace exomesh::runner
