#include "model/architecture.h"

#include <algorithm>
#include <cmath>
#include <format>
#include <limits>

#include "model/architecture_tensors.h"
#include "model/quoted_name.h"

namespace exomesh::model {

namespace {

constexpr std::uint32_t any_count = std::numeric_limits<std::uint32_t>::max();

// The metadata under one family's prefix.
class Metadata {
  public:
    Metadata(const Gguf& gguf, std::string family) : gguf_(gguf), family_(std::move(family)) {}

    [[nodiscard]] const Gguf& gguf() const { return gguf_; }
    [[nodiscard]] bool has(std::string_view name) const { return gguf_.find(key(name)) != nullptr; }

    // From 1 to `maximum`. An array that gives every layer the same value counts as that value.
    [[nodiscard]] Result<std::uint32_t> count(std::string_view name, std::uint32_t maximum) const {
        EXO_TRY_ASSIGN(const auto value, raw_count(key(name)));
        if (value == 0) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the metadata key '{}' is 0.", key(name)), hint_damaged_model);
        }
        if (value > maximum) {
            return fail(ErrorCode::unsupported,
                        std::format("the metadata key '{}' is {}; at most {} is supported.",
                                    key(name), value, maximum));
        }
        return static_cast<std::uint32_t>(value);
    }

    [[nodiscard]] Result<std::uint32_t> count_or(std::string_view name, std::uint32_t fallback,
                                                 std::uint32_t maximum) const {
        return has(name) ? count(name, maximum) : fallback;
    }

    [[nodiscard]] Result<double> number_or(std::string_view name, double fallback) const {
        if (!has(name)) return fallback;
        EXO_TRY_ASSIGN(const double value, gguf_.number(key(name)));
        if (!std::isfinite(value)) return senseless(name, value);
        return value;
    }

    [[nodiscard]] Result<double> positive_number_or(std::string_view name, double fallback) const {
        EXO_TRY_ASSIGN(const double value, number_or(name, fallback));
        if (value <= 0.0) return senseless(name, value);
        return value;
    }

    [[nodiscard]] Result<std::string> string_or(std::string_view name,
                                                std::string_view fallback) const {
        return has(name) ? gguf_.string(key(name)) : std::string(fallback);
    }

    [[nodiscard]] std::string key(std::string_view name) const {
        return std::format("{}.{}", family_, name);
    }

    [[nodiscard]] std::unexpected<Error> senseless(std::string_view name, double value) const {
        return fail(
            ErrorCode::corrupt_data,
            std::format("the metadata key '{}' is {}, which makes no sense.", key(name), value),
            hint_damaged_model);
    }

  private:
    [[nodiscard]] Result<std::uint64_t> raw_count(const std::string& key) const {
        if (gguf_.find(key) == nullptr) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the model has no metadata key '{}'.", key),
                        hint_damaged_model);
        }
        const std::vector<std::int64_t>* values = gguf_.integers(key);
        if (values == nullptr || values->empty()) return gguf_.unsigned_integer(key);
        const std::int64_t first = values->front();
        if (std::ranges::any_of(*values, [&](auto value) { return value != first; })) {
            return fail(ErrorCode::unsupported,
                        std::format("the metadata key '{}' varies from layer to layer.", key),
                        "A newer exomesh may run this model.");
        }
        if (first < 0) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the metadata key '{}' is {}.", key, first),
                        hint_damaged_model);
        }
        return static_cast<std::uint64_t>(first);
    }

    const Gguf& gguf_;
    std::string family_;
};

Result<std::uint32_t> read_vocabulary_size(const Metadata& metadata) {
    const auto* tokens = metadata.gguf().strings("tokenizer.ggml.tokens");
    if (tokens != nullptr && !tokens->empty() && tokens->size() <= width_max) {
        return static_cast<std::uint32_t>(tokens->size());
    }
    return metadata.count("vocab_size", width_max);
}

Result<> read_attention(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY_ASSIGN(architecture.head_count, metadata.count("attention.head_count", width_max));
    EXO_TRY_ASSIGN(
        architecture.key_value_head_count,
        metadata.count_or("attention.head_count_kv", architecture.head_count, width_max));
    if (architecture.head_count % architecture.key_value_head_count != 0) {
        return fail(ErrorCode::corrupt_data,
                    std::format("{} query heads cannot share {} key/value heads evenly ('{}').",
                                architecture.head_count, architecture.key_value_head_count,
                                metadata.key("attention.head_count_kv")),
                    hint_damaged_model);
    }
    const std::uint32_t head_length = architecture.embedding_length / architecture.head_count;
    const std::uint32_t head_length_max = width_max / architecture.head_count;
    EXO_TRY_ASSIGN(architecture.key_length,
                   metadata.count_or("attention.key_length", head_length, head_length_max));
    EXO_TRY_ASSIGN(architecture.value_length,
                   metadata.count_or("attention.value_length", head_length, head_length_max));
    if (architecture.key_length == 0 || architecture.value_length == 0) {
        return fail(ErrorCode::corrupt_data,
                    std::format("{} heads are more than the embedding's {} elements ('{}').",
                                architecture.head_count, architecture.embedding_length,
                                metadata.key("attention.head_count")),
                    hint_damaged_model);
    }
    architecture.attention_scale = 1.0 / std::sqrt(architecture.key_length);
    return {};
}

Result<> read_rope_scaling(const Metadata& metadata, Rope& rope) {
    // Files without a type mean linear scaling, and without a factor none.
    EXO_TRY_ASSIGN(const std::string type, metadata.string_or("rope.scaling.type", "linear"));
    const char* factor_key =
        metadata.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";  // older
    EXO_TRY_ASSIGN(double factor, metadata.number_or(factor_key, 1.0));
    if (factor == 0.0) factor = 1.0;
    if (factor < 0.0) return metadata.senseless(factor_key, factor);
    if (metadata.gguf().tensor("rope_factors_long.weight") != nullptr || type == "longrope") {
        rope.scaling = RopeScalingKind::long_rope;
    } else if (type == "yarn") {
        rope.scaling = RopeScalingKind::yarn;
        EXO_TRY_ASSIGN(rope.yarn_extrapolation_factor,
                       metadata.number_or("rope.scaling.yarn_ext_factor", 1.0));
        if (rope.yarn_extrapolation_factor < 0.0) rope.yarn_extrapolation_factor = 1.0;
        EXO_TRY_ASSIGN(
            rope.yarn_beta_fast,
            metadata.positive_number_or("rope.scaling.yarn_beta_fast", rope.yarn_beta_fast));
        EXO_TRY_ASSIGN(
            rope.yarn_beta_slow,
            metadata.positive_number_or("rope.scaling.yarn_beta_slow", rope.yarn_beta_slow));
    } else if (type == "linear") {
        rope.scaling = factor == 1.0 ? RopeScalingKind::none : RopeScalingKind::linear;
    } else if (type == "none") {
        factor = 1.0;
    } else {
        return fail(ErrorCode::unsupported,
                    std::format("the metadata key '{}' names {}, which is not supported.",
                                metadata.key("rope.scaling.type"), quoted_name(type)),
                    "Supported are none, linear, yarn and longrope.");
    }
    rope.scaling_factor = factor;
    return {};
}

Result<> read_rope(const Metadata& metadata, Architecture& architecture) {
    Rope& rope = architecture.rope;
    EXO_TRY_ASSIGN(rope.dimension_count,
                   metadata.count_or("rope.dimension_count", architecture.key_length, any_count));
    if (rope.dimension_count > architecture.key_length || rope.dimension_count % 2 != 0) {
        return fail(ErrorCode::corrupt_data,
                    std::format("'{}' is {}; it must be even and at most the key length {}.",
                                metadata.key("rope.dimension_count"), rope.dimension_count,
                                architecture.key_length),
                    hint_damaged_model);
    }
    EXO_TRY_ASSIGN(rope.frequency_base,
                   metadata.positive_number_or("rope.freq_base", rope.frequency_base));
    EXO_TRY_ASSIGN(rope.frequency_base_sliding,
                   metadata.positive_number_or("rope.freq_base_swa", rope.frequency_base_sliding));
    EXO_TRY_ASSIGN(rope.original_context_length,
                   metadata.count_or("rope.scaling.original_context_length",
                                     architecture.context_length, any_count));
    EXO_TRY(read_rope_scaling(metadata, rope));
    EXO_TRY_ASSIGN(rope.attention_factor,
                   metadata.positive_number_or("rope.scaling.attn_factor", 1.0));
    return {};
}

Result<> read_common(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY_ASSIGN(architecture.layer_count, metadata.count("block_count", layer_count_max));
    EXO_TRY_ASSIGN(architecture.embedding_length, metadata.count("embedding_length", width_max));
    EXO_TRY_ASSIGN(architecture.context_length, metadata.count("context_length", any_count));
    EXO_TRY_ASSIGN(architecture.vocabulary_size, read_vocabulary_size(metadata));
    constexpr const char* epsilon_key = "attention.layer_norm_rms_epsilon";
    if (!metadata.has(epsilon_key)) {
        return fail(ErrorCode::corrupt_data,
                    std::format("the model has no metadata key '{}'.", metadata.key(epsilon_key)),
                    hint_damaged_model);
    }
    EXO_TRY_ASSIGN(architecture.norm_epsilon, metadata.number_or(epsilon_key, 0.0));
    if (architecture.norm_epsilon < 0.0 || architecture.norm_epsilon >= 1.0) {
        return metadata.senseless(epsilon_key, architecture.norm_epsilon);
    }
    EXO_TRY(read_attention(metadata, architecture));
    EXO_TRY(read_rope(metadata, architecture));
    EXO_TRY_ASSIGN(architecture.final_logit_softcap,
                   metadata.number_or("final_logit_softcapping", 0.0));
    if (architecture.final_logit_softcap < 0.0) {
        return metadata.senseless("final_logit_softcapping", architecture.final_logit_softcap);
    }
    architecture.layer_is_sliding.assign(architecture.layer_count, false);
    architecture.tied_output = metadata.gguf().tensor("output.weight") == nullptr;
    architecture.fused_query_key_value = metadata.gguf().tensor("blk.0.attn_qkv.weight") != nullptr;
    return {};
}

Result<> read_dense_feed_forward(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY_ASSIGN(architecture.feed_forward_length,
                   metadata.count("feed_forward_length", width_max));
    return {};
}

// `length_fallback`: of each expert, where the file does not say.
Result<> read_experts(const Metadata& metadata, std::uint32_t length_fallback,
                      Architecture& architecture) {
    Experts experts;
    EXO_TRY_ASSIGN(experts.count, metadata.count("expert_count", expert_count_max));
    EXO_TRY_ASSIGN(experts.used_count, metadata.count("expert_used_count", experts.count));
    EXO_TRY_ASSIGN(experts.feed_forward_length,
                   metadata.count_or("expert_feed_forward_length", length_fallback, width_max));
    if (experts.feed_forward_length == 0) {
        return fail(ErrorCode::corrupt_data,
                    std::format("the model has no metadata key '{}'.",
                                metadata.key("expert_feed_forward_length")),
                    hint_damaged_model);
    }
    // Both families that have experts scale the chosen ones' weights to a sum of one.
    experts.weights_normalized = true;
    EXO_TRY_ASSIGN(experts.weights_scale, metadata.number_or("expert_weights_scale", 1.0));
    if (experts.weights_scale == 0.0) experts.weights_scale = 1.0;  // means "not set"
    constexpr double gating_softmax = 1.0;
    EXO_TRY_ASSIGN(const double gating, metadata.number_or("expert_gating_func", gating_softmax));
    if (gating != gating_softmax) {
        return fail(ErrorCode::unsupported,
                    std::format("the metadata key '{}' is {}; only softmax (1) is supported.",
                                metadata.key("expert_gating_func"), gating));
    }
    architecture.experts = experts;
    return {};
}

// Also Mistral, SmolLM2 and, with experts, Mixtral. A sliding window that such a file announces is
// left out, as llama.cpp does, so that both give the same tokens.
Result<> read_llama(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY(read_dense_feed_forward(metadata, architecture));
    architecture.rope.kind = RopeKind::adjacent;
    if (!metadata.has("expert_count")) return {};
    EXO_TRY_ASSIGN(const auto expert_count,
                   metadata.gguf().unsigned_integer(metadata.key("expert_count")));
    if (expert_count == 0) return {};
    return read_experts(metadata, architecture.feed_forward_length, architecture);
}

Result<> read_qwen2(const Metadata& metadata, Architecture& architecture) {
    return read_dense_feed_forward(metadata, architecture);
}

Result<> read_qwen3(const Metadata& metadata, Architecture& architecture) {
    architecture.query_key_norm = true;
    return read_dense_feed_forward(metadata, architecture);
}

Result<> read_qwen3moe(const Metadata& metadata, Architecture& architecture) {
    architecture.query_key_norm = true;
    // The dense length is written, but no layer uses it.
    EXO_TRY_ASSIGN(architecture.feed_forward_length,
                   metadata.count_or("feed_forward_length", 0, width_max));
    EXO_TRY_ASSIGN(const auto used_count, metadata.count("expert_used_count", expert_count_max));
    return read_experts(metadata, architecture.feed_forward_length / used_count, architecture);
}

// Which layers slide: a period (every n-th layer is full) or one boolean per layer.
Result<> read_sliding_pattern(const Metadata& metadata, Architecture& architecture) {
    const std::string key = metadata.key("attention.sliding_window_pattern");
    if (const std::vector<bool>* pattern = metadata.gguf().booleans(key)) {
        if (pattern->size() != architecture.layer_count) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the metadata key '{}' has {} entries for {} layers.", key,
                                    pattern->size(), architecture.layer_count),
                        hint_damaged_model);
        }
        architecture.layer_is_sliding = *pattern;
        return {};
    }
    EXO_TRY_ASSIGN(const auto period,
                   metadata.count_or("attention.sliding_window_pattern", 6, any_count));
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        architecture.layer_is_sliding[layer] = (layer + 1) % period != 0;
    }
    return {};
}

// Gemma 3, arXiv 2503.19786. The file's norm weights already contain the "1 +" of the original.
Result<> read_gemma3(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY(read_dense_feed_forward(metadata, architecture));
    architecture.query_key_norm = true;
    architecture.post_norms = true;
    architecture.activation = Activation::gelu;
    architecture.scales_query = true;
    architecture.embedding_scale = std::sqrt(architecture.embedding_length);
    // The 27B model alone, known by its layers, scales by the embedding's share of a head.
    constexpr std::uint32_t layer_count_27b = 62;
    if (architecture.layer_count == layer_count_27b) {
        const std::uint32_t share = architecture.embedding_length / architecture.head_count;
        if (share > 0) architecture.attention_scale = 1.0 / std::sqrt(share);
    }
    if (!metadata.has("attention.sliding_window")) return {};
    EXO_TRY_ASSIGN(const auto window,
                   metadata.gguf().unsigned_integer(metadata.key("attention.sliding_window")));
    if (window == 0) return {};
    EXO_TRY_ASSIGN(architecture.sliding_window,
                   metadata.count("attention.sliding_window", any_count));
    return read_sliding_pattern(metadata, architecture);
}

// Phi-3 and Phi-4. Their sliding window is left out, as llama.cpp does (its converters write values
// that cannot be relied on), so that both give the same tokens.
Result<> read_phi3(const Metadata& metadata, Architecture& architecture) {
    EXO_TRY(read_dense_feed_forward(metadata, architecture));
    architecture.fused_gate_up = true;
    architecture.scales_query = true;
    Rope& rope = architecture.rope;
    if (rope.scaling == RopeScalingKind::long_rope && !metadata.has("rope.scaling.attn_factor")) {
        // LongRoPE, arXiv 2402.13753.
        const double growth = static_cast<double>(architecture.context_length) /
                              static_cast<double>(rope.original_context_length);
        if (growth > 1.0 && rope.original_context_length > 1) {
            rope.attention_factor =
                std::sqrt(1.0 + std::log(growth) / std::log(rope.original_context_length));
        }
    }
    return {};
}

struct Family {
    std::string_view name;
    Result<> (*read)(const Metadata& metadata, Architecture& architecture);
};

constexpr std::array families = std::to_array<Family>({
    {"llama", read_llama},
    {"qwen2", read_qwen2},
    {"qwen3", read_qwen3},
    {"qwen3moe", read_qwen3moe},
    {"gemma3", read_gemma3},
    {"phi3", read_phi3},
});

}  // namespace

Result<Architecture> read_architecture(const Gguf& gguf) {
    if (gguf.find("general.architecture") == nullptr) {
        return fail(ErrorCode::corrupt_data,
                    "the file has no metadata key 'general.architecture', so it is no model.",
                    "Give the path of a model's .gguf file.");
    }
    Architecture architecture;
    EXO_TRY_ASSIGN(architecture.family, gguf.string("general.architecture"));
    const auto family = std::ranges::find(families, architecture.family, &Family::name);
    if (family == families.end()) {
        return fail(ErrorCode::unsupported,
                    std::format("models of the family {} are not supported.",
                                quoted_name(architecture.family)),
                    "Supported are llama, qwen2, qwen3, qwen3moe, gemma3 and phi3.");
    }
    if (gguf.find("general.name") != nullptr) {
        EXO_TRY_ASSIGN(architecture.name, gguf.string("general.name"));
    }
    const Metadata metadata(gguf, architecture.family);
    EXO_TRY(read_common(metadata, architecture));
    EXO_TRY(family->read(metadata, architecture));
    EXO_TRY(check_tensors(gguf, architecture));
    return architecture;
}

}  // namespace exomesh::model
