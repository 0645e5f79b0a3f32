// Watches the workers of a head over their control links, on a thread of its own: who is ready, who
// failed, who is silent.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "runner/messages.h"

namespace exomesh::runner {

class Monitor {
  public:
    // controls[i] is the link to rank i + 1, which has been told to load. `on_failure` is called
    // once, on the monitor's thread, for the first worker that fails.
    Monitor(std::vector<net::DataLink> controls, std::function<void()> on_failure,
            std::function<std::string(std::size_t rank)> explain_loss);
    // Tells the workers that it is over.
    ~Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    // Waits until all workers have loaded, or one has failed.
    [[nodiscard]] Result<std::vector<ReadyReport>> wait_until_ready();

    // The first failure, named; waits a moment for it, since a broken data link is often seen
    // first.
    [[nodiscard]] std::optional<Error> failure();

  private:
    void run();
    // The best explanation first: who finds another rank gone reports that.
    enum class LossKind { gone, failed, found_other_gone };
    struct Loss {
        LossKind kind = LossKind::gone;
        Error error;
    };

    // False when the monitor is to end.
    [[nodiscard]] bool wait_a_moment();
    // True where a worker is lost.
    [[nodiscard]] bool look();
    [[nodiscard]] std::optional<Loss> attend(std::size_t worker);
    void fail_worst();

    std::vector<net::DataLink> controls_;
    std::vector<net::Deadline> silent_at_;
    std::vector<std::optional<Loss>> losses_;
    std::function<void()> on_failure_;
    std::function<std::string(std::size_t rank)> explain_loss_;

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<std::optional<ReadyReport>> reports_;
    std::optional<Error> failure_;
    bool stopping_ = false;

    std::thread thread_;
};

}  // namespace exomesh::runner
