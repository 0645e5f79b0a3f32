// What differs between model families, as data: the graph builder in engine/ reads this value and
// nothing else of the file's metadata. One family = one reader function that fills it in.
//
// Families: llama (also mistral, smollm), qwen2, qwen3, qwen3moe, gemma3, phi3.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"

namespace exomesh::model {

inline constexpr std::uint32_t layer_count_max = 1024;
inline constexpr std::uint32_t expert_count_max = 1024;
// Of the embedding, the FFN, all heads together and the vocabulary: products with small numbers fit
// in 32 bits.
inline constexpr std::uint32_t width_max = 1 << 24;

// Which elements of a head rotate together (RoPE, arXiv 2104.09864).
enum class RopeKind {
    adjacent,  // (0,1) (2,3) ...: llama
    halves,    // (0,d/2) (1,d/2+1) ...: "NeoX" order, all others here
};

enum class RopeScalingKind { none, linear, yarn, long_rope };

struct Rope {
    RopeKind kind = RopeKind::halves;
    std::uint32_t dimension_count = 0;  // of each head; the rest passes through
    double frequency_base = 10000.0;
    double frequency_base_sliding = 10000.0;  // of the layers with a sliding window
    RopeScalingKind scaling = RopeScalingKind::none;
    double scaling_factor = 1.0;  // positions are divided by it (not in sliding layers)
    // Multiplies cos and sin; YaRN's own 1 + 0.1 ln(scaling_factor), which ggml's kernel applies
    // where the extrapolation factor is not zero, comes on top.
    double attention_factor = 1.0;
    // Longer contexts use rope_factors_long.weight, others rope_factors_short.weight (long_rope).
    std::uint32_t original_context_length = 0;
    // YaRN (arXiv 2309.00071)
    double yarn_extrapolation_factor = 0.0;
    double yarn_beta_fast = 32.0;
    double yarn_beta_slow = 1.0;
};

enum class Activation { silu, gelu };  // of the gated FFN; gelu is the tanh form

struct Experts {
    std::uint32_t count = 0;
    std::uint32_t used_count = 0;
    std::uint32_t feed_forward_length = 0;
    bool weights_normalized = false;  // the used experts' softmax weights are scaled to sum to one
    double weights_scale = 1.0;
};

struct Architecture {
    std::string family;  // general.architecture
    std::string name;    // general.name, may be empty
    std::uint32_t layer_count = 0;
    std::uint32_t embedding_length = 0;
    std::uint32_t feed_forward_length = 0;
    std::uint32_t head_count = 0;
    std::uint32_t key_value_head_count = 0;
    std::uint32_t key_length = 0;    // per head
    std::uint32_t value_length = 0;  // per head
    std::uint32_t vocabulary_size = 0;
    std::uint32_t context_length = 0;  // trained
    double norm_epsilon = 1e-5;
    double attention_scale = 0.0;      // multiplies Q·K
    bool scales_query = false;         // ... before the product: rounds as llama.cpp does
    double embedding_scale = 1.0;      // multiplies the token embedding
    double final_logit_softcap = 0.0;  // 0: none
    Activation activation = Activation::silu;
    Rope rope;
    std::uint32_t sliding_window = 0;    // 0: none. A token sees itself and the window-1 before it.
    std::vector<bool> layer_is_sliding;  // layer_count entries
    bool query_key_norm = false;         // RMS norm per head on Q and K before RoPE
    bool post_norms = false;  // gemma3: a norm behind attention and FFN, before the residual add
    std::optional<Experts> experts;      // nothing: every layer has a dense FFN
    bool tied_output = false;            // the LM head is the token embedding
    bool fused_query_key_value = false;  // one attn_qkv tensor: Q's rows, then K's, then V's
    bool fused_gate_up = false;          // ffn_up holds the gate's rows, then up's

    [[nodiscard]] std::uint32_t query_heads_per_group() const {
        return head_count / key_value_head_count;
    }
};

// Reads and checks everything: unknown family → unsupported; missing or senseless values (zero
// heads, heads not divisible by KV heads, counts over the limits, a tensor that is missing, has
// another shape than the metadata implies, or a type no backend computes with) → corrupt_data or
// unsupported, naming the key or the tensor. A tensor that the family does not know is unsupported
// too: to leave it out would compute something else than the model.
[[nodiscard]] Result<Architecture> read_architecture(const Gguf& gguf);

enum class TensorUse {
    matrix,  // of any type that backends multiply with
    vector,  // norms, biases and rope factors: f32
};
enum class TensorPresence { required, optional };

struct ExpectedTensor {
    std::string name;
    std::array<std::uint64_t, 4> shape = {1, 1, 1, 1};  // as in TensorInfo
    TensorUse use = TensorUse::matrix;
    TensorPresence presence = TensorPresence::required;
};

// Every tensor a model of this architecture has or may have: what read_architecture checks a file
// against, and what writers of test models write.
[[nodiscard]] std::vector<ExpectedTensor> expected_tensors(const Architecture& architecture);

}  // namespace exomesh::model
