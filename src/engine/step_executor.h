// What the engine needs of whatever computes its steps: one shard, or many ranks behind one face.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "engine/graph.h"
#include "engine/output_row.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

// New tokens of one slot, at first_position and after. Positions before must have been computed.
struct SlotTokens {
    std::uint32_t slot = 0;
    std::uint32_t first_position = 0;
    std::span<const model::TokenId> tokens;
    OutputRows outputs = OutputRows::last;
    RowNeeds needs = {};  // of each of them
};

[[nodiscard]] inline std::size_t token_count(std::span<const SlotTokens> batch) {
    std::size_t count = 0;
    for (const SlotTokens& slot : batch) count += slot.tokens.size();
    return count;
}

// Used by one thread.
class StepExecutor {
  public:
    virtual ~StepExecutor() = default;

    // How many steps are computed at a time: one in each stage of a pipeline.
    [[nodiscard]] virtual std::uint32_t stage_count() const { return 1; }

    // How many may be started before the first of them is finished. In a pipeline one more than
    // there are stages: it waits at the first, so that a stage which is done early has work.
    [[nodiscard]] std::uint32_t steps_in_flight_max() const {
        return stage_count() == 1 ? 1 : stage_count() + 1;
    }

    // Starts one step; those in flight come first, also where they compute the same slot. `batch`
    // is sorted by slot, each slot once, none empty, all within the context; its tokens and its
    // adjustments must stay where they are until the step is finished. An error leaves the cache's
    // new positions undefined, and the step is not to be finished.
    [[nodiscard]] virtual Result<void> start(std::span<const SlotTokens> batch) = 0;

    // Waits for the oldest step that was started. Result: the rows that were asked for, in the
    // batch's order; valid until the next call. Whole rows have output_length() logits and lie one
    // behind the other. A row of which candidates were wanted may come whole, where that is free;
    // then nothing is done to it.
    [[nodiscard]] virtual Result<std::span<const OutputRow>> finish() = 0;

    // Both, with no other step in flight, and whole rows only.
    [[nodiscard]] Result<std::span<const float>> compute(std::span<const SlotTokens> batch) {
        EXO_TRY(start(batch));
        EXO_TRY_ASSIGN(const std::span<const OutputRow> rows, finish());
        if (rows.empty()) return std::span<const float>();
        return std::span(rows.front().logits.data(), rows.size() * output_length());
    }

    // What it cannot compute without, where that was lost while no step was in flight.
    [[nodiscard]] virtual std::optional<Error> loss() { return std::nullopt; }

    // Copies the first `length` positions of one slot over another's, as the steps that were
    // started leave them.
    [[nodiscard]] virtual Result<void> copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                                                 std::uint32_t length) = 0;

    [[nodiscard]] virtual std::uint32_t output_length() const = 0;
    [[nodiscard]] virtual std::uint32_t context_length() const = 0;
    [[nodiscard]] virtual std::uint64_t weight_bytes() const = 0;
    [[nodiscard]] virtual std::uint64_t cache_bytes() const = 0;
    [[nodiscard]] virtual std::uint64_t compute_bytes() const = 0;
};

}  // namespace exomesh::engine
