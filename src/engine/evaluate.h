// Teacher-forced evaluation: the model's next-token distribution at every position of a given text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"
#include "engine/step_executor.h"

namespace exomesh::engine {

// Calls `on_logits(position, logits)` for every token in order; `logits` predict the token at
// position + 1 and are valid during the call. Uses slot 0 from its start; `tokens` must fit the
// context.
[[nodiscard]] Result<void> evaluate(
    StepExecutor& shard, std::span<const model::TokenId> tokens, std::uint32_t chunk_length,
    const std::function<void(std::uint32_t, std::span<const float>)>& on_logits);

}  // namespace exomesh::engine
