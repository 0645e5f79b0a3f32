// What the head records of its steps, and what it gathers of its workers'.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/step_executor.h"
#include "platform/trace.h"
#include "runner/cluster_figures.h"
#include "runner/links.h"
#include "runner/recording.h"

namespace exomesh::runner {

// Belongs to the computing thread, on which it must be made and end; but figures() to any. Records
// with the thread's recorder where it has one, else for the figures alone.
class HeadRecording {
  public:
    HeadRecording(std::size_t rank_count, std::function<void(const StepReport&)> on_step);
    ~HeadRecording();
    HeadRecording(const HeadRecording&) = delete;
    HeadRecording& operator=(const HeadRecording&) = delete;

    // Of every step, in this order; steps overlap in a pipeline.
    void begin_step(std::uint32_t step, std::span<const engine::SlotTokens> batch,
                    const Links& links);
    void started(const Links& links);  // the head's own part is done
    void finished(const Links& links);
    // Instead of started(): it will not be finished.
    void failed();

    [[nodiscard]] ClusterFigures& figures() { return figures_; }

  private:
    struct Running {
        StepFigures figures;
        std::uint64_t begin_ns = 0;
    };
    // Adds what the thread did since the last call.
    void add_to(StepFigures& figures, const Links& links);

    ClusterFigures figures_;
    platform::TraceRecorder own_recorder_{0};
    platform::TraceRecorder* recorder_;
    std::deque<Running> running_;  // oldest first
    Links::Traffic traffic_;       // until the last call of add_to()
    std::uint64_t last_finish_ns_ = 0;
};

}  // namespace exomesh::runner
