// Runners that are child processes of the same program: one that crashes or hangs takes nothing
// along.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "platform/supervised_child.h"
#include "runner/runner_host.h"

namespace exomesh::runner {

class ChildRunnerHost final : public RunnerHost {
  public:
    // Runs `program worker --listen 127.0.0.1:0 --allow HEAD --once --new-identity`. The children
    // end with this object, and with this process whatever ends it.
    explicit ChildRunnerHost(std::string program) : program_(std::move(program)) {}

    [[nodiscard]] Result<void> start(std::uint32_t count, const net::PeerId& head) override;
    void stop() override;
    [[nodiscard]] const std::vector<WorkerAddress>& addresses() const override {
        return addresses_;
    }
    // The exit code or signal, and what it wrote to its standard error.
    [[nodiscard]] std::string explain_loss(std::size_t runner) override;

  private:
    std::string program_;
    std::mutex mutex_;  // guards children_
    std::vector<platform::SupervisedChild> children_;
    std::vector<WorkerAddress> addresses_;
};

}  // namespace exomesh::runner
