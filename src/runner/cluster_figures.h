// What the steps of a cluster cost its ranks: gathered from all of them, told step by step, and
// summed up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "runner/recording.h"

namespace exomesh::runner {

struct RankFacts {
    std::string device = {};                         // its id there
    std::string host = {};                           // where its worker listens; empty for the head
    std::uint32_t layer_first = 0, layer_count = 0;  // of its slice
    bool is_idle = false;                            // a head that computes nothing
};

// One step, when all ranks have told what it cost them. The spans last as long as the call that
// gets it.
struct StepReport {
    std::uint32_t step = 0;
    std::uint32_t token_count = 0;
    std::span<const StepFigures> ranks = {};  // the head first
    std::span<const RankFacts> names = {};

    // The rank that computed longest, for which the others may have had to wait, and how much
    // longer that was than the shortest.
    [[nodiscard]] std::size_t slowest_rank() const;
    [[nodiscard]] std::uint32_t behind_us() const;
};

struct Quantiles {
    std::uint32_t p50 = 0, p99 = 0;
    bool operator==(const Quantiles&) const = default;
};
// The smallest value that so large a share of all does not exceed; 0 of none.
[[nodiscard]] Quantiles quantiles_of(std::vector<std::uint32_t> values);

// Of steps that decode: one token for each request in them.
struct RankStatistics {
    RankFacts name = {};
    Quantiles compute_us = {}, sum_us = {}, wait_us = {};
    double sent_bytes = 0, received_bytes = 0;  // for each step
    std::uint64_t slowest_count = 0;            // steps in which it computed longest
};

struct ClusterStatistics {
    std::uint64_t decode_step_count = 0;
    Quantiles step_us;    // as the head sees them
    Quantiles behind_us;  // StepReport::behind_us()
    std::vector<RankStatistics> ranks;
    // Of steps with prompt tokens.
    std::uint64_t prompt_step_count = 0, prompt_token_count = 0, prompt_us = 0;
};

// The most recent decoding steps: quantiles are over these.
inline constexpr std::size_t decode_steps_kept_max = 16'384;
// Steps that some rank has not told of; the oldest is given up then.
inline constexpr std::size_t steps_waiting_max = 16'384;

// Any thread may call.
class ClusterFigures {
  public:
    // `on_step` gets the steps in their order, on the thread that completes each; it must not call
    // back.
    ClusterFigures(std::size_t rank_count, std::function<void(const StepReport&)> on_step);

    // One for each rank; unnamed before.
    void set_names(std::vector<RankFacts> names);

    // Before any rank can tell of it. Numbers are consecutive.
    void begin_step(std::uint32_t step, std::uint32_t token_count, bool is_prompt);
    // Before the head tells of it: how long it was the oldest in flight. In a pipeline steps
    // overlap; these times do not.
    void end_step(std::uint32_t step, std::uint32_t oldest_us);
    // corrupt_data for a step that never began, or that the rank has told of.
    [[nodiscard]] Result<void> add(std::size_t rank, const StepFigures& figures);

    [[nodiscard]] ClusterStatistics statistics() const;

  private:
    struct Waiting {
        std::uint32_t step = 0;
        std::uint32_t token_count = 0;
        bool is_prompt = false;
        std::uint32_t oldest_us = 0;
        std::size_t told_count = 0;
        std::vector<StepFigures> ranks = {};
        std::vector<bool> has_told = {};
    };
    // The most recent values of one thing.
    class Series {
      public:
        void add(std::uint32_t value);
        [[nodiscard]] Quantiles quantiles() const { return quantiles_of(values_); }

      private:
        std::vector<std::uint32_t> values_;
        std::size_t next_ = 0;
    };
    struct RankSums {
        Series compute_us, sum_us, wait_us;
        std::uint64_t sent_bytes = 0, received_bytes = 0, slowest_count = 0;
    };
    void complete(const Waiting& waiting);

    const std::function<void(const StepReport&)> on_step_;
    mutable std::mutex mutex_;  // guards what follows
    std::vector<RankFacts> names_;
    std::deque<Waiting> waiting_;
    Series step_us_, behind_us_;
    std::vector<RankSums> sums_;
    ClusterStatistics statistics_;
};

}  // namespace exomesh::runner
