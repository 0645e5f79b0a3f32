// Writes GGUF models with random weights, of every family and weight type: whole models that the
// engine (and llama.cpp) loads and runs, so that tests need no download and benches have the shape
// they want. The same arguments give the same file on every platform, but for the rounding of
// ggml's quantization.
//
//     model::Architecture architecture = tiny_architecture("gemma3");
//     architecture.sliding_window = 8;
//     write_synthetic_model(architecture, {.weight_type = TensorType::q4_k}, path);
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/architecture.h"
#include "model/tensor_type.h"

namespace exomesh::engine::testing {

// The least that holds every byte, the special tokens and a few merges.
inline constexpr std::uint32_t synthetic_vocabulary_size_min = 384;

struct SyntheticOptions {
    // Of the matrices; norms, biases, rope factors and expert routers are F32. A matrix whose rows
    // are no multiple of the type's block gets Q8_0, or F16 where that does not fit either.
    model::TensorType weight_type = model::TensorType::f32;
    std::optional<model::TensorType> embedding_type = {};  // none: weight_type
    std::optional<model::TensorType> output_type =
        {};                          // none: weight_type; without effect when tied
    bool has_biases = false;         // of query, key and value, as in Qwen2
    bool has_rope_factors = false;   // rope_freqs, as in Llama 3.1
    std::string chat_template = {};  // tokenizer.chat_template; empty: none
    std::uint64_t seed = 1;
    std::uint32_t thread_count = 1;
};

// The smallest useful model of a family (model/architecture.h names them), to be changed by the
// caller: 256 wide, with two query heads to a key/value head. Asserts that the family is known.
[[nodiscard]] model::Architecture tiny_architecture(std::string_view family);

// The file's metadata is what read_architecture needs to give `architecture` back. Errors: io.
[[nodiscard]] Result<> write_synthetic_model(const model::Architecture& architecture,
                                             const SyntheticOptions& options,
                                             const std::string& path);

}  // namespace exomesh::engine::testing
