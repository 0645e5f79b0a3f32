// Proves, while a model runs, that the ranks of a tensor group hold the same bits: each hashes the
// sums of a step, and at its end they compare. For tests, and for whoever looks for a fault: it
// costs a message to every rank of the group in every step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/reducer.h"
#include "net/data_link.h"

namespace exomesh::runner {

// Used by the thread that computes.
class SumCheck final : public engine::Reducer {
  public:
    // `sums` makes them. `members`: a link to every rank of the group, in order; nullptr stands for
    // this rank. All must outlive the check.
    SumCheck(engine::Reducer& sums, std::vector<net::DataLink*> members);

    void start(float* values, std::int64_t row_length, std::int64_t row_count) override;
    void finish() override;

    // Takes part in the hash: what else must be the same on every rank.
    void add(std::span<const float> values);

    // Ends a step. internal, with the rank's name: it holds something else.
    [[nodiscard]] Result<void> compare(net::Deadline deadline);

  private:
    engine::Reducer& sums_;
    std::vector<net::DataLink*> members_;
    std::span<const float> values_;  // of the sum that was started
    std::uint64_t hash_ = 0;
};

}  // namespace exomesh::runner
