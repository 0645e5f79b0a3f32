// What a worker records of its session: made by the thread that computes, told to the head by the
// thread that answers it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "platform/trace.h"
#include "runner/links.h"
#include "runner/recording.h"

namespace exomesh::runner {

// Figures of steps that wait to be told; newer ones are left out.
inline constexpr std::size_t figures_waiting_max = 16'384;

class WorkerRecording {
  public:
    explicit WorkerRecording(Recording recording);

    // --- the computing thread, which must end before this object does ---

    void begin();
    // A step is over, with all that it sent.
    void end_step(std::uint32_t step, const Links& links);
    // Another order is over, which is part of no step.
    void end_other(const Links& links);

    // --- the answering thread ---

    // Where the message is one of recordings; `received_ns` is when it came.
    [[nodiscard]] Result<void> answer(net::DataLink& control, const net::Message& message,
                                      std::uint64_t received_ns);
    // What the head does not know yet.
    [[nodiscard]] Result<void> tell_figures(net::DataLink& control);

  private:
    [[nodiscard]] Result<void> tell_all(net::DataLink& control, std::uint32_t step_count);
    [[nodiscard]] std::vector<StepFigures> take_some_figures();

    std::optional<platform::TraceRecorder> recorder_;  // none where nothing is recorded
    Links::Traffic traffic_;                           // until the last step
    std::atomic<std::uint32_t> step_count_ = 0;        // that are over

    std::mutex mutex_;  // guards what follows
    std::deque<StepFigures> figures_;
};

}  // namespace exomesh::runner
