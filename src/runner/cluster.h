// The head's side of a model on several ranks: it plans the slices, makes the workers load them, is
// rank 0 itself, and computes steps with all of them as if it were one shard. It may leave
// computing to the workers, so that nothing a device's driver does can end it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/open_shard.h"
#include "net/identity.h"
#include "runner/cluster_figures.h"
#include "runner/link_survey.h"
#include "runner/monitor.h"
#include "runner/split.h"
#include "runner/wire_codec.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

// What a cluster recorded until it was closed.
struct ClusterRecord {
    ClusterStatistics statistics;
    std::vector<RecordedSpans> workers;  // of ranks 1, 2, ...; those of the head its thread has
};

struct ClusterOptions {
    net::Identity identity;
    std::vector<WorkerAddress> workers;  // ranks 1, 2, ...
    bool is_head_idle = false;  // it computes nothing; then what follows has nothing for it
    Split split;
    std::vector<double> shares;        // for each rank; empty: equal
    std::vector<std::string> devices;  // for each rank; empty: EngineOptions::device for all
    // For each rank, 0 for one per physical core of its own; empty: EngineOptions::thread_count.
    std::vector<std::uint32_t> thread_counts = {};
    WireType wire = WireType::q8_0;
    std::uint32_t spin_us = 30;
    // From how many tokens on a chunk's sums travel while its other half computes; 0: never; empty:
    // as the links measured at the start make it worth by the model.
    std::optional<std::uint32_t> overlap_tokens_min = {};
    bool checks_sums = false;  // ranks compare their sums in every step (sum_check.h)
    // Why a rank is gone, where somebody knows more than its silence; empty otherwise. Called by
    // another thread.
    std::function<std::string(std::size_t rank)> explain_loss = {};
    // Where given, the links are measured once all ranks are ready, and this is called on the
    // computing thread. Not for an idle head, which takes part in no sum.
    std::function<void(const LinkReport&)> on_links = {};
    // What all ranks record. For spans the computing thread must have a recorder.
    Recording recording = Recording::nothing;
    std::function<void(const StepReport&)> on_step = {};  // see ClusterFigures
    // Called on the computing thread when the cluster is closed, where anything was recorded.
    std::function<void(ClusterRecord)> on_close = {};
};

// Connects to the workers and loads; `model` must outlive the result. To be used by the calling
// thread alone. Errors name the rank that failed. A rank that dies or stops fails the running step
// within a second; the cluster stays broken then and must be opened anew.
[[nodiscard]] Result<engine::OpenedShard> open_cluster(const engine::ModelFile& model,
                                                       const engine::EngineOptions& options,
                                                       const ClusterOptions& cluster);

}  // namespace exomesh::runner
