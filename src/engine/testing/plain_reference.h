// The mathematics of every model family once more, as slow straight loops in double precision: what
// the engine's graphs are compared with. Written from the papers and the models' published code,
// and on purpose without anything the engine computes with; of ggml it uses only the unpacking of
// weights.
//
// Llama arXiv 2302.13971, Qwen2 2407.10671, Qwen3 2505.09388, Gemma 3 2503.19786, Phi-3 2404.14219,
// RMS norm 1910.07467, gated FFN 2002.05202, RoPE 2104.09864, YaRN 2309.00071, LongRoPE 2402.13753,
// grouped queries 2305.13245, experts 2401.04088.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/generation.h"
#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::engine::testing {

// The logits behind each token of a sequence that starts at position 0: vocabulary_size values a
// token. `file` is the whole file that `gguf` was parsed from. `context_length` is that of the
// slot: LongRoPE alone depends on it, by choosing its long factors above the original length.
[[nodiscard]] std::vector<float> plain_logits(const model::Gguf& gguf,
                                              std::span<const std::byte> file,
                                              const model::Architecture& architecture,
                                              std::span<const TokenId> tokens,
                                              std::uint32_t context_length);

}  // namespace exomesh::engine::testing
