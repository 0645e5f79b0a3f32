// Models of a few kilobytes, of every family, with random weights: what tests run where a real
// model would be too large or does not exist for the family.
#pragma once

#include <cstdint>
#include <string>

#include "model/architecture.h"
#include "model/testing/gguf_writer.h"

namespace exomesh::model::testing {

struct TinyModel {
    std::string family = "llama";
    std::uint32_t layer_count = 2;
    std::uint32_t embedding_length = 64;
    std::uint32_t feed_forward_length = 96;
    std::uint32_t head_count = 4;
    std::uint32_t key_value_head_count = 2;
    std::uint32_t key_length = 16;
    std::uint32_t vocabulary_size = 96;
    std::uint32_t context_length = 256;
    std::uint32_t expert_count = 0;  // qwen3moe has 4 where this is 0
    std::uint32_t expert_used_count = 2;
    std::uint32_t sliding_window = 8;  // gemma3
    bool has_biases = false;           // of Q, K and V
    bool has_rope_factors = false;     // rope_freqs; of phi3 the long and short ones
    bool tied_output = true;
    // Of the matrices. f32 and f16 get random values around zero; of other types all bytes are
    // zero.
    TensorType matrix_type = TensorType::f32;
    std::uint64_t seed = 1;
};

// What read_architecture must find in the file, as far as the tensors depend on it.
[[nodiscard]] Architecture tiny_architecture(const TinyModel& model);

// A tokenizer's vocabulary is not in it: `{family}.vocab_size` stands for it.
[[nodiscard]] GgufWriter tiny_metadata(const TinyModel& model);
// With the tensors.
[[nodiscard]] GgufWriter tiny_model(const TinyModel& model);

}  // namespace exomesh::model::testing
