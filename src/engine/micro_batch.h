// Cuts a batch in two, so that a shard can compute one half while the other's sums are on their way
// to other ranks. Pure: ranks that cut the same batch get the same halves.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step_executor.h"

namespace exomesh::engine {

// Halves are whole multiples of this: matrix kernels work on so many rows at once.
inline constexpr std::uint32_t micro_batch_step = 32;
inline constexpr std::uint32_t micro_batch_tokens_min = 2 * micro_batch_step;

// The second half sees the keys and values of the first: compute it after that, layer by layer. The
// rows that come out of the first and then the second are those of the batch.
struct MicroBatches {
    std::vector<SlotTokens> first;
    std::vector<SlotTokens> second;
};

// `batch` has at least micro_batch_tokens_min tokens; the halves point to them.
[[nodiscard]] MicroBatches split_batch(std::span<const SlotTokens> batch);

}  // namespace exomesh::engine
