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
#include "platform/trace.h"
#include "runner/clock_alignment.h"
#include "runner/messages.h"

namespace exomesh::runner {

// What a worker recorded, and its clock: the head's is the one to compare with.
struct RecordedSpans {
    std::vector<platform::TraceSpan> spans;
    std::uint64_t dropped_count = 0;
    bool is_complete = false;
    ClockAlignment clock;
};

// What the workers were told to record.
struct Watch {
    Recording recording = Recording::nothing;
    // Gets what the worker of this rank tells of its steps, on the monitor's thread. Its error is
    // the worker's failure.
    std::function<Result<void>(std::size_t rank, std::span<const StepFigures>)> on_figures = {};
};

class Monitor {
  public:
    // controls[i] is the link to rank i + 1, which has been told to load. `on_failure` is called
    // once, on the monitor's thread, for the first worker that fails.
    Monitor(std::vector<net::DataLink> controls, std::function<void()> on_failure,
            std::function<std::string(std::size_t rank)> explain_loss, Watch watch = {});
    // Tells the workers that it is over.
    ~Monitor();
    Monitor(const Monitor&) = delete;
    Monitor& operator=(const Monitor&) = delete;

    // Waits until all workers expect ranks, and have been told that they may dial each other; or
    // one has failed.
    [[nodiscard]] Result<void> wait_until_dialling();

    // Waits until all workers have loaded, or one has failed.
    // `on_progress` hears how far they are together, 0 to 1, on this thread.
    [[nodiscard]] Result<std::vector<ReadyReport>> wait_until_ready(
        const std::function<void(double)>& on_progress = {});

    // The first failure, named; waits a moment for it, since a broken data link is often seen
    // first.
    [[nodiscard]] std::optional<Error> failure();

    // The same without waiting.
    [[nodiscard]] std::optional<Error> known_failure();

    // Ends the watch, and asks the workers for what they recorded of `step_count` steps. One that
    // does not answer is left out. For each worker, in order.
    [[nodiscard]] std::vector<RecordedSpans> collect(std::uint32_t step_count);

  private:
    void run();
    void end_watch();
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
    [[nodiscard]] std::optional<Loss> take_in(std::size_t worker, const net::Message& message);
    [[nodiscard]] Result<void> take_recorded(std::size_t worker, const net::Message& message,
                                             std::uint64_t received_ns);
    [[nodiscard]] bool has_loaded(std::size_t worker);
    void note_progress(std::size_t worker, const net::Message& message);
    void ping_in_time();
    // Once all have answered.
    void let_all_dial();
    // Asks a worker for its time and waits a moment for the answer: the sooner, the better. False
    // where none came yet; it is waited for the next time.
    [[nodiscard]] bool compare_clocks(std::size_t worker);
    void compare_all_clocks(std::uint64_t round);
    void collect_from(std::size_t worker, std::uint32_t step_count, net::Deadline deadline);
    void fail_worst();

    struct Loading {
        float progress = -1;
        net::Deadline still_at;  // when it counts as stuck
    };

    std::vector<net::DataLink> controls_;
    net::Deadline next_ping_ = net::Deadline::after_ms(0);
    std::vector<net::Deadline> silent_at_;
    std::vector<Loading> loading_;
    std::vector<std::optional<Loss>> losses_;
    std::vector<bool> has_answered_;
    std::function<void()> on_failure_;
    std::function<std::string(std::size_t rank)> explain_loss_;
    const Watch watch_;
    std::vector<RecordedSpans> recorded_;
    std::vector<std::optional<std::uint64_t>> clock_asked_ns_;  // what no answer came for yet

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<std::optional<ReadyReport>> reports_;
    double progress_ = 0;  // of loading, the mean of all
    std::optional<Error> failure_;
    bool is_dialling_ = false;
    bool stopping_ = false;

    std::thread thread_;
};

}  // namespace exomesh::runner
