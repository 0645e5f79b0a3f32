// Sums over the ranks of one stage: all_reduce.h carried out over data links, by the method that
// all_reduce_cost.h chooses for the sum's size.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/reducer.h"
#include "net/data_link.h"
#include "runner/all_reduce.h"
#include "runner/all_reduce_cost.h"
#include "runner/compute_watch.h"
#include "runner/messages.h"
#include "runner/wire_codec.h"

namespace exomesh::runner {

// Used by the thread that computes.
class TensorGroup final : public engine::Reducer {
  public:
    // `members`: a link to every rank of the group, in order; nullptr stands for this rank. The
    // links must outlive the group, and so must `watch`, which sees a pause in each sum. All ranks
    // must have the same figures.
    TensorGroup(WireType wire, std::vector<net::DataLink*> members, const LinkFigures& figures = {},
                ComputeWatch* watch = nullptr);

    // For one step: until it ends, a sum that is not complete by then fails.
    void begin_step(net::Deadline deadline);
    // The error of the first sum that failed since begin_step(): what was computed since is wrong.
    [[nodiscard]] Result<void> end_step();

    void start(float* values, std::int64_t row_length, std::int64_t row_count) override;
    void finish() override;
    void reduce(float* values, std::int64_t row_length, std::int64_t row_count) override;

    [[nodiscard]] std::size_t size() const { return members_.size(); }

  private:
    [[nodiscard]] Result<void> begin(std::span<float> values);
    [[nodiscard]] Result<void> begin_round();
    [[nodiscard]] Result<void> finish_round();
    [[nodiscard]] Result<void> finish_rounds();

    WireType wire_;
    std::vector<net::DataLink*> members_;
    LinkFigures figures_;
    ComputeWatch* watch_;  // nullptr where nobody watches
    AllReduce sum_;
    // What this rank sends in a round; outgoing_parts_[rank] is what messages_ point to.
    std::array<net::Bytes, rank_count_max> outgoing_parts_;
    std::vector<net::Outgoing> messages_;
    net::Deadline deadline_;
    Result<void> result_;
};

}  // namespace exomesh::runner
