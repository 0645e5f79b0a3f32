#include "model/testing/tiny_model.h"

#include <bit>
#include <cmath>
#include <random>

#include "base/assert.h"

namespace exomesh::model::testing {

namespace {

// IEEE half, rounded towards zero: only for values of ordinary size.
std::uint16_t half_bits(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t exponent = bits >> 23 & 0xff;
    if (exponent < 113) return static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    EXO_ASSERT(exponent < 143);
    return static_cast<std::uint16_t>((bits >> 16 & 0x8000) | (exponent - 112) << 10 |
                                      (bits >> 13 & 0x3ff));
}

template <typename T>
void append(std::vector<std::byte>& bytes, T value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

// Norms and rope factors lie around one, everything else around zero with the spread that keeps
// activations of ordinary size.
std::vector<std::byte> random_data(const ExpectedTensor& tensor, TensorType type,
                                   std::mt19937_64& random) {
    if (type != TensorType::f32 && type != TensorType::f16) {
        return std::vector<std::byte>(tensor_size_bytes(type, tensor.shape));
    }
    const bool is_bias = tensor.name.ends_with(".bias");
    const bool is_factor = tensor.use == TensorUse::vector && !is_bias;
    const double spread =
        is_factor ? 0.1 : (is_bias ? 0.1 : 1.0 / std::sqrt(static_cast<double>(tensor.shape[0])));
    const std::uint64_t count =
        tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * tensor.shape[3];
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
        // Our own uniform numbers: the standard's distributions differ between libraries.
        const double unit = static_cast<double>(random() >> 11) * 0x1.0p-53;
        const auto value = static_cast<float>((is_factor ? 1.0 : 0.0) + spread * (2 * unit - 1));
        if (type == TensorType::f32) {
            append(bytes, value);
        } else {
            append(bytes, half_bits(value));
        }
    }
    return bytes;
}

std::uint32_t expert_count(const TinyModel& model) {
    return model.family == "qwen3moe" && model.expert_count == 0 ? 4 : model.expert_count;
}

bool is_wanted(const TinyModel& model, const ExpectedTensor& tensor) {
    if (tensor.presence == TensorPresence::required) return true;
    if (tensor.name == "rope_freqs.weight") return model.has_rope_factors;
    return model.has_biases && !tensor.name.ends_with("attn_output.bias");
}

}  // namespace

Architecture tiny_architecture(const TinyModel& model) {
    const bool is_phi3 = model.family == "phi3";
    Architecture architecture;
    architecture.family = model.family;
    architecture.layer_count = model.layer_count;
    architecture.embedding_length = model.embedding_length;
    architecture.feed_forward_length = model.feed_forward_length;
    architecture.head_count = model.head_count;
    architecture.key_value_head_count = model.key_value_head_count;
    architecture.key_length = model.key_length;
    architecture.value_length = model.key_length;
    architecture.vocabulary_size = model.vocabulary_size;
    architecture.rope.dimension_count = model.key_length;
    if (is_phi3 && model.has_rope_factors) architecture.rope.scaling = RopeScalingKind::long_rope;
    architecture.query_key_norm = model.family.starts_with("qwen3") || model.family == "gemma3";
    architecture.post_norms = model.family == "gemma3";
    architecture.tied_output = model.tied_output;
    architecture.fused_query_key_value = is_phi3;
    architecture.fused_gate_up = is_phi3;
    if (expert_count(model) > 0) {
        architecture.experts = Experts{.count = expert_count(model),
                                       .used_count = model.expert_used_count,
                                       .feed_forward_length = model.feed_forward_length};
    }
    return architecture;
}

GgufWriter tiny_metadata(const TinyModel& model) {
    GgufWriter writer;
    const auto key = [&](const char* name) { return model.family + "." + name; };
    writer.add("general.architecture", model.family);
    writer.add("general.name", "tiny " + model.family);
    writer.add(key("block_count"), model.layer_count);
    writer.add(key("context_length"), model.context_length);
    writer.add(key("embedding_length"), model.embedding_length);
    writer.add(key("feed_forward_length"), model.feed_forward_length);
    writer.add(key("vocab_size"), model.vocabulary_size);
    writer.add(key("attention.head_count"), model.head_count);
    writer.add(key("attention.head_count_kv"), model.key_value_head_count);
    writer.add(key("attention.key_length"), model.key_length);
    writer.add(key("attention.value_length"), model.key_length);
    writer.add(key("attention.layer_norm_rms_epsilon"), 1e-5F);
    writer.add(key("rope.freq_base"), model.family == "gemma3" ? 1e6F : 1e4F);
    if (model.family == "gemma3") {
        writer.add(key("attention.sliding_window"), model.sliding_window);
    }
    if (model.family == "phi3" && model.has_rope_factors) {
        writer.add(key("rope.scaling.original_context_length"), model.context_length / 4);
        writer.add(key("rope.scaling.attn_factor"), 1.19F);
    }
    if (expert_count(model) > 0) {
        writer.add(key("expert_count"), expert_count(model));
        writer.add(key("expert_used_count"), model.expert_used_count);
        writer.add(key("expert_feed_forward_length"), model.feed_forward_length);
    }
    return writer;
}

GgufWriter tiny_model(const TinyModel& model) {
    GgufWriter writer = tiny_metadata(model);
    std::mt19937_64 random(model.seed);
    for (const ExpectedTensor& tensor : expected_tensors(tiny_architecture(model))) {
        if (!is_wanted(model, tensor)) continue;
        const TensorType type =
            tensor.use == TensorUse::matrix ? model.matrix_type : TensorType::f32;
        std::size_t dimension_count = tensor.shape.size();
        while (dimension_count > 1 && tensor.shape[dimension_count - 1] == 1) --dimension_count;
        writer.add_tensor(tensor.name, type, std::span(tensor.shape).first(dimension_count),
                          random_data(tensor, type, random));
    }
    return writer;
}

}  // namespace exomesh::model::testing
