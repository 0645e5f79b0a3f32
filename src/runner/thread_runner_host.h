// Runners that are threads of this process: real links, real sessions, nothing but the process is
// missing. A crash of one ends them all, and one that computes for ever cannot be ended: stop()
// waits for it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runner/runner_host.h"
#include "runner/worker.h"

namespace exomesh::runner {

class ThreadRunnerHost final : public RunnerHost {
  public:
    ThreadRunnerHost() = default;
    ThreadRunnerHost(const ThreadRunnerHost&) = delete;
    ThreadRunnerHost& operator=(const ThreadRunnerHost&) = delete;
    ~ThreadRunnerHost() override { stop(); }

    [[nodiscard]] Result<void> start(std::uint32_t count, const net::PeerId& head) override;
    void stop() override;
    [[nodiscard]] const std::vector<WorkerAddress>& addresses() const override {
        return addresses_;
    }
    [[nodiscard]] std::string explain_loss(std::size_t runner) override;

    // How the runner's session ended. Waits for that a moment (2 s), then stops it.
    [[nodiscard]] Result<void> join(std::size_t runner);

  private:
    struct Runner {
        explicit Runner(Worker created) : worker(std::move(created)) {}
        Worker worker;
        Result<void> result = {};  // once has_ended
        std::atomic<bool> has_ended = false;
        std::thread thread = {};
    };

    std::mutex mutex_;  // explain_loss() against changes of the list
    std::vector<std::unique_ptr<Runner>> runners_;
    std::vector<WorkerAddress> addresses_;
};

}  // namespace exomesh::runner
