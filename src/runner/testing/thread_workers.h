// Workers as threads of a test: real links, real sessions, nothing but the process is missing.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "net/identity.h"
#include "runner/cluster.h"
#include "runner/worker.h"

namespace exomesh::runner::testing {

class ThreadWorkers {
  public:
    // Each serves one head, `head`.
    ThreadWorkers(std::size_t count, const net::Identity& head);
    ThreadWorkers(const ThreadWorkers&) = delete;
    ThreadWorkers& operator=(const ThreadWorkers&) = delete;
    ~ThreadWorkers();

    [[nodiscard]] const std::vector<WorkerAddress>& addresses() const { return addresses_; }

    // Waits until the worker has served its head; a worker that still waits for one is sent home.
    // How the session ended.
    [[nodiscard]] Result<void> join(std::size_t worker);

  private:
    struct Served {
        explicit Served(Worker created) : worker(std::move(created)) {}
        Worker worker;
        Result<void> result = {};
        std::thread thread = {};
        std::atomic<bool> has_ended = false;
    };
    void send_home(const WorkerAddress& address);

    net::Identity head_;
    std::vector<std::unique_ptr<Served>> served_;
    std::vector<WorkerAddress> addresses_;
};

}  // namespace exomesh::runner::testing
