// Which tensors an architecture has, and whether a file has them.
#include "model/architecture_tensors.h"

#include <algorithm>
#include <format>
#include <initializer_list>
#include <string_view>

#include "model/architecture.h"
#include "model/quoted_name.h"

namespace exomesh::model {

namespace {

// Collects the tensors whose names begin with a prefix such as "blk.0.".
class Collector {
  public:
    explicit Collector(std::vector<ExpectedTensor>& tensors) : tensors_(tensors) {}

    void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

    void matrix(std::string_view name, std::initializer_list<std::uint64_t> shape) {
        add(name, shape, TensorUse::matrix, TensorPresence::required);
    }
    void vector(std::string_view name, std::uint64_t size,
                TensorPresence presence = TensorPresence::required) {
        add(name, {size}, TensorUse::vector, presence);
    }

  private:
    void add(std::string_view name, std::initializer_list<std::uint64_t> shape, TensorUse use,
             TensorPresence presence) {
        ExpectedTensor tensor{
            .name = prefix_ + std::string(name), .use = use, .presence = presence};
        std::ranges::copy(shape, tensor.shape.begin());
        tensors_.push_back(std::move(tensor));
    }

    std::vector<ExpectedTensor>& tensors_;
    std::string prefix_;
};

struct Widths {
    explicit Widths(const Architecture& architecture)
        : embedding(architecture.embedding_length),
          query(std::uint64_t{architecture.head_count} * architecture.key_length),
          key(std::uint64_t{architecture.key_value_head_count} * architecture.key_length),
          value(std::uint64_t{architecture.key_value_head_count} * architecture.value_length),
          attention(std::uint64_t{architecture.head_count} * architecture.value_length) {}

    std::uint64_t embedding, query, key, value, attention;
};

void collect_attention(const Architecture& architecture, Collector& collector) {
    constexpr auto optional = TensorPresence::optional;
    const Widths widths(architecture);
    collector.vector("attn_norm.weight", widths.embedding);
    if (architecture.fused_query_key_value) {
        const std::uint64_t fused = widths.query + widths.key + widths.value;
        collector.matrix("attn_qkv.weight", {widths.embedding, fused});
        collector.vector("attn_qkv.bias", fused, optional);
    } else {
        collector.matrix("attn_q.weight", {widths.embedding, widths.query});
        collector.matrix("attn_k.weight", {widths.embedding, widths.key});
        collector.matrix("attn_v.weight", {widths.embedding, widths.value});
        collector.vector("attn_q.bias", widths.query, optional);
        collector.vector("attn_k.bias", widths.key, optional);
        collector.vector("attn_v.bias", widths.value, optional);
    }
    if (architecture.query_key_norm) {
        collector.vector("attn_q_norm.weight", architecture.key_length);
        collector.vector("attn_k_norm.weight", architecture.key_length);
    }
    collector.matrix("attn_output.weight", {widths.attention, widths.embedding});
    collector.vector("attn_output.bias", widths.embedding, optional);
    if (architecture.post_norms) {
        collector.vector("post_attention_norm.weight", widths.embedding);
    }
}

void collect_feed_forward(const Architecture& architecture, Collector& collector) {
    const std::uint64_t embedding = architecture.embedding_length;
    collector.vector("ffn_norm.weight", embedding);
    if (architecture.experts) {
        const std::uint64_t count = architecture.experts->count;
        const std::uint64_t inner = architecture.experts->feed_forward_length;
        collector.matrix("ffn_gate_inp.weight", {embedding, count});
        collector.matrix("ffn_gate_exps.weight", {embedding, inner, count});
        collector.matrix("ffn_up_exps.weight", {embedding, inner, count});
        collector.matrix("ffn_down_exps.weight", {inner, embedding, count});
    } else {
        const std::uint64_t inner = architecture.feed_forward_length;
        if (architecture.fused_gate_up) {
            collector.matrix("ffn_up.weight", {embedding, 2 * inner});
        } else {
            collector.matrix("ffn_gate.weight", {embedding, inner});
            collector.matrix("ffn_up.weight", {embedding, inner});
        }
        collector.matrix("ffn_down.weight", {inner, embedding});
    }
    if (architecture.post_norms) collector.vector("post_ffw_norm.weight", embedding);
}

std::string shape_text(const std::array<std::uint64_t, 4>& shape) {
    std::size_t dimension_count = shape.size();
    while (dimension_count > 1 && shape[dimension_count - 1] == 1) --dimension_count;
    std::string text = std::to_string(shape[0]);
    for (std::size_t i = 1; i < dimension_count; ++i) text += std::format(" × {}", shape[i]);
    return text;
}

bool is_multiplied_with(TensorType type) {
    switch (type) {
        case TensorType::f32:
        case TensorType::f16:
        case TensorType::bf16:
        case TensorType::q4_0:
        case TensorType::q4_1:
        case TensorType::q5_0:
        case TensorType::q5_1:
        case TensorType::q8_0:
        case TensorType::q2_k:
        case TensorType::q3_k:
        case TensorType::q4_k:
        case TensorType::q5_k:
        case TensorType::q6_k:
        case TensorType::iq4_nl:
        case TensorType::mxfp4:
            return true;
        // Formats of activations and of indices.
        case TensorType::q8_1:
        case TensorType::q8_k:
        case TensorType::i32:
            return false;
    }
    return false;
}

Result<> check_tensor(const TensorInfo& tensor, const ExpectedTensor& expected) {
    if (tensor.shape != expected.shape) {
        return fail(
            ErrorCode::corrupt_data,
            std::format("tensor '{}' has the shape {}; the model's metadata implies {}.",
                        expected.name, shape_text(tensor.shape), shape_text(expected.shape)),
            hint_damaged_model);
    }
    const bool usable = expected.use == TensorUse::vector ? tensor.type == TensorType::f32
                                                          : is_multiplied_with(tensor.type);
    if (!usable) {
        return fail(ErrorCode::unsupported,
                    std::format("tensor '{}' has the type {}, which is not supported for it.",
                                expected.name, tensor_type_traits(tensor.type).name),
                    "Get the model in another quantization, such as Q4_K_M or Q8_0.");
    }
    return {};
}

// The bias of the query alone, say, would be added to nothing where the three are fused.
Result<> check_biases(const Gguf& gguf, std::uint32_t layer) {
    std::size_t bias_count = 0;
    for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
        if (gguf.tensor(std::format("blk.{}.{}.bias", layer, name)) != nullptr) ++bias_count;
    }
    if (bias_count == 0 || bias_count == 3) return {};
    return fail(ErrorCode::unsupported,
                std::format("layer {} has a bias for only some of query, key and value.", layer));
}

Result<> check_no_other_tensors(const Gguf& gguf, std::vector<ExpectedTensor> expected) {
    std::ranges::sort(expected, {}, &ExpectedTensor::name);
    for (const TensorInfo& tensor : gguf.tensors()) {
        if (!std::ranges::binary_search(expected, tensor.name, {}, &ExpectedTensor::name)) {
            return fail(ErrorCode::unsupported,
                        std::format("the model has a tensor {} that this version does not know.",
                                    quoted_name(tensor.name)),
                        "A newer exomesh may run it.");
        }
    }
    return {};
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const Architecture& architecture) {
    std::vector<ExpectedTensor> tensors;
    Collector collector(tensors);
    const std::uint64_t embedding = architecture.embedding_length;
    collector.matrix("token_embd.weight", {embedding, architecture.vocabulary_size});
    collector.vector("output_norm.weight", embedding);
    if (!architecture.tied_output) {
        collector.matrix("output.weight", {embedding, architecture.vocabulary_size});
    }
    const std::uint64_t pair_count = architecture.rope.dimension_count / 2;
    if (architecture.rope.scaling == RopeScalingKind::long_rope) {
        collector.vector("rope_factors_long.weight", pair_count);
        collector.vector("rope_factors_short.weight", pair_count);
    } else {
        collector.vector("rope_freqs.weight", pair_count, TensorPresence::optional);
    }
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        collector.set_prefix(std::format("blk.{}.", layer));
        collect_attention(architecture, collector);
        collect_feed_forward(architecture, collector);
    }
    return tensors;
}

Result<> check_tensors(const Gguf& gguf, const Architecture& architecture) {
    std::vector<ExpectedTensor> expected = expected_tensors(architecture);
    for (const ExpectedTensor& wanted : expected) {
        const TensorInfo* tensor = gguf.tensor(wanted.name);
        if (tensor != nullptr) {
            EXO_TRY(check_tensor(*tensor, wanted));
        } else if (wanted.presence == TensorPresence::required) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the model has no tensor '{}'.", wanted.name),
                        hint_damaged_model);
        }
    }
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        EXO_TRY(check_biases(gguf, layer));
    }
    return check_no_other_tensors(gguf, std::move(expected));
}

}  // namespace exomesh::model
