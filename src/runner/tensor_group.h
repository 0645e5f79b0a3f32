// Sums over the ranks of one stage: a one-shot all-gather with local addition.
//
// Each rank encodes its part (its own contribution too), sends it to all others, and adds all parts
// in the order of the ranks: one network hop, and the same bits everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "engine/reducer.h"
#include "net/data_link.h"
#include "runner/wire_codec.h"

namespace exomesh::runner {

struct ReduceStatistics {
    std::uint64_t reduce_count = 0;
    std::uint64_t reduce_us = 0;   // whole calls: encoding, sending, waiting, adding
    std::uint64_t sent_bytes = 0;  // to all peers together
};

// Used by the thread that computes.
class TensorGroup final : public engine::Reducer {
  public:
    // `members`: a link to every rank of the group, in order; nullptr stands for this rank. The
    // links must outlive the group.
    TensorGroup(WireType wire, std::vector<net::DataLink*> members);

    // For one step: until it ends, a sum that is not complete by then fails.
    void begin_step(net::Deadline deadline);
    // The error of the first sum that failed since begin_step(): what was computed since is wrong.
    [[nodiscard]] Result<void> end_step();

    void reduce(float* values, std::int64_t row_length, std::int64_t row_count) override;

    [[nodiscard]] std::size_t size() const { return members_.size(); }
    [[nodiscard]] const ReduceStatistics& statistics() const { return statistics_; }

  private:
    [[nodiscard]] Result<void> exchange(std::span<float> values);

    WireType wire_;
    std::vector<net::DataLink*> members_;
    std::vector<std::byte> encoded_;
    net::Deadline deadline_;
    Result<void> result_;
    ReduceStatistics statistics_;
};

}  // namespace exomesh::runner
