// Teacher-forced evaluation: the model's next-token distribution at every position of a given text,
// and how probable it holds the text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"
#include "engine/step_executor.h"

namespace exomesh::engine {

// Calls `on_logits(position, logits)` for every token in order; `logits` predict the token at
// position + 1 and are valid during the call. Uses slot 0 from its start; `tokens` must fit the
// context. Chunks are cut shorter where their logits would be beyond evaluate_bytes_max.
inline constexpr std::size_t evaluate_bytes_max = std::size_t{32} << 20;
[[nodiscard]] Result<void> evaluate(
    StepExecutor& shard, std::span<const model::TokenId> tokens, std::uint32_t chunk_length,
    const std::function<void(std::uint32_t, std::span<const float>)>& on_logits);

// In nat.
[[nodiscard]] double log_probability(std::span<const float> logits, model::TokenId token);

struct Likelihood {
    std::uint64_t token_count = 0;         // predicted ones
    double negative_log_likelihood = 0.0;  // their sum, in nat
};

struct WindowOptions {
    std::uint32_t window_length = 512;  // tokens, with `first`; at least 2
    std::uint32_t chunk_length = 512;
    model::TokenId first = model::token_none;  // stands before each window's tokens, unless none
};

// Cuts `tokens` into windows that know nothing of each other, the last one perhaps shorter, and
// sums up every token but the first of each.
[[nodiscard]] Result<Likelihood> evaluate_windows(
    StepExecutor& shard, std::span<const model::TokenId> tokens, const WindowOptions& options,
    const std::function<void(const Likelihood&)>& on_window);

}  // namespace exomesh::engine
