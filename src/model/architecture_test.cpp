#include "model/architecture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "model/testing/tiny_model.h"

namespace exomesh::model {
namespace {

using testing::GgufWriter;
using ::testing::HasSubstr;
using testing::TinyModel;

using Change = std::function<void(GgufWriter&)>;

Result<Architecture> read(const GgufWriter& writer) {
    const auto gguf = Gguf::parse(writer.bytes());
    if (!gguf) return std::unexpected(gguf.error());
    return read_architecture(*gguf);
}

// The tiny model with further keys or tensors.
Result<Architecture> read_with(const TinyModel& model, const Change& change) {
    GgufWriter writer = testing::tiny_model(model);
    change(writer);
    return read(writer);
}

// The tiny model without the keys and tensors `drop` names, or with others in their place.
GgufWriter without(const TinyModel& model, std::string_view drop) {
    const std::vector<std::byte> file = testing::tiny_model(model).bytes();
    const auto gguf = Gguf::parse(file);
    GgufWriter writer;
    for (const auto& [key, value] : gguf->metadata()) {
        if (key == drop) continue;
        if (const auto* integer = std::get_if<std::uint64_t>(&value)) writer.add(key, *integer);
        if (const auto* number = std::get_if<double>(&value)) writer.add(key, *number);
        if (const auto* text = std::get_if<std::string>(&value)) writer.add(key, *text);
    }
    for (const TensorInfo& tensor : gguf->tensors()) {
        if (tensor.name == drop) continue;
        writer.add_tensor(tensor.name, tensor.type, tensor.shape,
                          std::span(file).subspan(tensor.offset_bytes, tensor.size_bytes));
    }
    return writer;
}

void expect_refused(const Result<Architecture>& result, ErrorCode code, const std::string& part) {
    ASSERT_FALSE(result) << "accepted; expected: " << part;
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_THAT(result.error().message, HasSubstr(part));
}

class EveryFamily : public ::testing::TestWithParam<const char*> {
  protected:
    [[nodiscard]] static TinyModel model() { return {.family = GetParam()}; }
    [[nodiscard]] static std::string key(const char* name) {
        return std::string(GetParam()) + "." + name;
    }
};

TEST_P(EveryFamily, IsReadFromATinyModel) {
    const auto architecture = read(testing::tiny_model(model()));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->family, GetParam());
    EXPECT_EQ(architecture->name, std::string("tiny ") + GetParam());
    EXPECT_EQ(architecture->layer_count, 2U);
    EXPECT_EQ(architecture->embedding_length, 64U);
    EXPECT_EQ(architecture->head_count, 4U);
    EXPECT_EQ(architecture->key_value_head_count, 2U);
    EXPECT_EQ(architecture->query_heads_per_group(), 2U);
    EXPECT_EQ(architecture->key_length, 16U);
    EXPECT_EQ(architecture->value_length, 16U);
    EXPECT_EQ(architecture->vocabulary_size, 96U);
    EXPECT_EQ(architecture->context_length, 256U);
    EXPECT_FLOAT_EQ(static_cast<float>(architecture->norm_epsilon), 1e-5F);
    EXPECT_DOUBLE_EQ(architecture->attention_scale, 0.25);
    EXPECT_EQ(architecture->rope.dimension_count, 16U);
    EXPECT_EQ(architecture->rope.scaling, RopeScalingKind::none);
    EXPECT_EQ(architecture->rope.scaling_factor, 1.0);
    EXPECT_EQ(architecture->rope.attention_factor, 1.0);
    EXPECT_EQ(architecture->layer_is_sliding.size(), 2U);
    EXPECT_TRUE(architecture->tied_output);
    const std::string family = GetParam();
    EXPECT_EQ(architecture->rope.kind, family == "llama" ? RopeKind::adjacent : RopeKind::halves);
    EXPECT_EQ(architecture->query_key_norm, family.starts_with("qwen3") || family == "gemma3");
    EXPECT_EQ(architecture->post_norms, family == "gemma3");
    EXPECT_EQ(architecture->scales_query, family == "gemma3" || family == "phi3");
    EXPECT_EQ(architecture->activation, family == "gemma3" ? Activation::gelu : Activation::silu);
    EXPECT_EQ(architecture->embedding_scale, family == "gemma3" ? 8.0 : 1.0);
    EXPECT_EQ(architecture->fused_query_key_value, family == "phi3");
    EXPECT_EQ(architecture->fused_gate_up, family == "phi3");
    EXPECT_EQ(architecture->experts.has_value(), family == "qwen3moe");
}

TEST_P(EveryFamily, NamesEveryRequiredTensorThatIsMissing) {
    TinyModel one_layer = model();
    one_layer.layer_count = 1;
    const auto whole = read(testing::tiny_model(one_layer));
    ASSERT_TRUE(whole);
    std::size_t required_count = 0;
    for (const ExpectedTensor& tensor : expected_tensors(*whole)) {
        if (tensor.presence == TensorPresence::optional) continue;
        ++required_count;
        const auto result = read(without(one_layer, tensor.name));
        // A file without its fused tensor looks like one that stores the three apart.
        const bool is_fused = tensor.name == "blk.0.attn_qkv.weight";
        expect_refused(
            result, ErrorCode::corrupt_data,
            is_fused ? "no tensor 'blk.0.attn_q.weight'" : "no tensor '" + tensor.name + "'");
    }
    EXPECT_GE(required_count, 8U);
}

TEST_P(EveryFamily, NamesEveryRequiredKeyThatIsMissing) {
    for (const char* name : {"block_count", "context_length", "embedding_length", "vocab_size",
                             "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
        expect_refused(read(without(model(), key(name))), ErrorCode::corrupt_data,
                       "no metadata key '" + key(name) + "'");
    }
}

TEST_P(EveryFamily, RefusesATensorItDoesNotKnow) {
    const auto result = read_with(model(), [](GgufWriter& writer) {
        writer.add_tensor("blk.1.attn_sinks.weight", TensorType::f32, {1},
                          std::vector<std::byte>(4));
    });
    expect_refused(result, ErrorCode::unsupported, "'blk.1.attn_sinks.weight'");
}

TEST_P(EveryFamily, ReadsAnOwnOutputAndBiases) {
    TinyModel changed = model();
    changed.tied_output = false;
    changed.has_biases = true;
    const auto architecture = read(testing::tiny_model(changed));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_FALSE(architecture->tied_output);
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(Architecture, RefusesOtherFamiliesByName) {
    GgufWriter writer;
    expect_refused(read(writer), ErrorCode::corrupt_data, "'general.architecture'");
    expect_refused(read(writer.add("general.architecture", "mamba")), ErrorCode::unsupported,
                   "the family 'mamba'");
}

TEST(Architecture, DefaultsFollowTheHeads) {
    const TinyModel model;
    const auto architecture = read(without(model, "llama.attention.key_length"));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->key_length, 16U);
    // As many KV heads as heads, where the file does not say: the tensors then are too narrow.
    expect_refused(read(without(model, "llama.attention.head_count_kv")), ErrorCode::corrupt_data,
                   "'blk.0.attn_k.weight' has the shape 64 × 32; the model's metadata implies "
                   "64 × 64");
}

// Keys of the tiny llama replaced by a value that cannot be.
TEST(Architecture, RefusesNumbersThatCannotBe) {
    const auto replaced = [](const char* name, auto value) {
        const std::string key = std::string("llama.") + name;
        GgufWriter writer = without({}, key);
        return read(writer.add(key, value));
    };
    constexpr auto corrupt = ErrorCode::corrupt_data;
    constexpr auto unsupported = ErrorCode::unsupported;
    expect_refused(replaced("block_count", 0U), corrupt, "'llama.block_count' is 0");
    expect_refused(replaced("block_count", 1025U), unsupported, "at most 1024");
    expect_refused(replaced("block_count", -1), corrupt, "'llama.block_count'");
    expect_refused(replaced("block_count", "2"), corrupt, "'llama.block_count'");
    expect_refused(replaced("embedding_length", 0xffffffffU), unsupported, "embedding_length");
    expect_refused(replaced("attention.head_count", 0U), corrupt, "'llama.attention.head_count'");
    expect_refused(replaced("attention.head_count_kv", 3U), corrupt,
                   "4 query heads cannot share 3 key/value heads");
    expect_refused(replaced("attention.head_count_kv", 0U), corrupt, "head_count_kv' is 0");
    expect_refused(replaced("attention.key_length", 1U << 23), unsupported, "key_length");
    expect_refused(replaced("attention.layer_norm_rms_epsilon", std::nanf("")), corrupt, "epsilon");
    expect_refused(replaced("attention.layer_norm_rms_epsilon", -1.0F), corrupt, "epsilon");
    expect_refused(replaced("rope.freq_base", 0.0F), corrupt, "'llama.rope.freq_base' is 0");
    expect_refused(replaced("rope.dimension_count", 15U), corrupt, "it must be even");
    expect_refused(replaced("rope.dimension_count", 18U), corrupt, "at most the key length 16");
    expect_refused(replaced("rope.scaling.factor", -2.0F), corrupt, "rope.scaling.factor' is -2");
    expect_refused(replaced("rope.scaling.type", "magic"), unsupported, "names 'magic'");
    expect_refused(replaced("expert_count", 2000U), unsupported, "'llama.expert_count' is 2000");
    expect_refused(replaced("vocab_size", 97U), corrupt, "'token_embd.weight' has the shape");
}

TEST(Architecture, HeadCountsPerLayerMustBeEqual) {
    const auto with = [](const std::vector<std::int32_t>& values) {
        GgufWriter writer = without({}, "llama.attention.head_count_kv");
        return read(writer.add("llama.attention.head_count_kv", values));
    };
    const auto equal = with({2, 2});
    ASSERT_TRUE(equal) << equal.error().text();
    EXPECT_EQ(equal->key_value_head_count, 2U);
    expect_refused(with({2, 4}), ErrorCode::unsupported, "varies from layer to layer");
    expect_refused(with({-2, -2}), ErrorCode::corrupt_data, "'llama.attention.head_count_kv'");
}

TEST(Architecture, MatricesAndVectorsHaveTheirTypes) {
    for (const TensorType type : {TensorType::f16, TensorType::q8_0, TensorType::q4_0}) {
        const auto architecture = read(testing::tiny_model({.matrix_type = type}));
        EXPECT_TRUE(architecture) << architecture.error().text();
    }
    expect_refused(read(testing::tiny_model({.matrix_type = TensorType::i32})),
                   ErrorCode::unsupported, "'token_embd.weight' has the type i32");
    GgufWriter writer = without({}, "blk.1.attn_norm.weight");
    writer.add_tensor("blk.1.attn_norm.weight", TensorType::f16, {64}, std::vector<std::byte>(128));
    expect_refused(read(writer), ErrorCode::unsupported,
                   "'blk.1.attn_norm.weight' has the type f16");
}

TEST(Architecture, BiasesComeTogether) {
    const auto result = read_with({}, [](GgufWriter& writer) {
        writer.add_tensor("blk.0.attn_q.bias", TensorType::f32, {64}, std::vector<std::byte>(256));
    });
    expect_refused(result, ErrorCode::unsupported, "layer 0 has a bias for only some");
}

TEST(Architecture, VocabularyIsTheTokenizersWhereThereIsOne) {
    std::vector<std::string> tokens(96, "t");
    GgufWriter writer = without({}, "llama.vocab_size");
    const auto architecture = read(writer.add("tokenizer.ggml.tokens", tokens));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->vocabulary_size, 96U);
}

TEST(Architecture, LlamaMayHaveExpertsAndRopeFactors) {
    const auto architecture =
        read(testing::tiny_model({.expert_count = 4, .has_rope_factors = true}));
    ASSERT_TRUE(architecture) << architecture.error().text();
    ASSERT_TRUE(architecture->experts);
    EXPECT_EQ(architecture->experts->count, 4U);
    EXPECT_EQ(architecture->experts->used_count, 2U);
    EXPECT_EQ(architecture->experts->feed_forward_length, 96U);
    EXPECT_TRUE(architecture->experts->weights_normalized);
    EXPECT_EQ(architecture->experts->weights_scale, 1.0);
}

TEST(Architecture, ExpertsMustBeFewerThanThereAre) {
    TinyModel model{.family = "qwen3moe", .expert_used_count = 5};
    expect_refused(read(testing::tiny_model(model)), ErrorCode::unsupported,
                   "'qwen3moe.expert_used_count' is 5; at most 4");
    model.expert_used_count = 0;
    expect_refused(read(testing::tiny_model(model)), ErrorCode::corrupt_data,
                   "'qwen3moe.expert_used_count' is 0");
    const auto sigmoid = read_with({.family = "qwen3moe"}, [](GgufWriter& writer) {
        writer.add("qwen3moe.expert_gating_func", std::uint32_t{2});
    });
    expect_refused(sigmoid, ErrorCode::unsupported, "only softmax");
    const auto scaled = read_with({.family = "qwen3moe"}, [](GgufWriter& writer) {
        writer.add("qwen3moe.expert_weights_scale", 2.5F);
    });
    ASSERT_TRUE(scaled) << scaled.error().text();
    EXPECT_EQ(scaled->experts->weights_scale, 2.5);
}

TEST(Architecture, RopeScalingIsRead) {
    const auto linear = read_with({}, [](GgufWriter& writer) {
        writer.add("llama.rope.scaling.type", "linear").add("llama.rope.scaling.factor", 4.0F);
    });
    ASSERT_TRUE(linear) << linear.error().text();
    EXPECT_EQ(linear->rope.scaling, RopeScalingKind::linear);
    EXPECT_EQ(linear->rope.scaling_factor, 4.0);
    EXPECT_EQ(linear->rope.original_context_length, 256U);

    const auto none = read_with({}, [](GgufWriter& writer) {
        writer.add("llama.rope.scaling.type", "none").add("llama.rope.scaling.factor", 4.0F);
    });
    ASSERT_TRUE(none) << none.error().text();
    EXPECT_EQ(none->rope.scaling, RopeScalingKind::none);
    EXPECT_EQ(none->rope.scaling_factor, 1.0);

    const auto older =
        read_with({}, [](GgufWriter& writer) { writer.add("llama.rope.scale_linear", 2.0F); });
    ASSERT_TRUE(older) << older.error().text();
    EXPECT_EQ(older->rope.scaling_factor, 2.0);
}

TEST(Architecture, YarnIsRead) {
    const auto yarn = read_with({.family = "qwen3"}, [](GgufWriter& writer) {
        writer.add("qwen3.rope.scaling.type", "yarn").add("qwen3.rope.scaling.factor", 4.0F);
        writer.add("qwen3.rope.scaling.original_context_length", std::uint32_t{64});
        writer.add("qwen3.rope.scaling.yarn_beta_fast", 16.0F);
    });
    ASSERT_TRUE(yarn) << yarn.error().text();
    EXPECT_EQ(yarn->rope.scaling, RopeScalingKind::yarn);
    EXPECT_EQ(yarn->rope.scaling_factor, 4.0);
    EXPECT_EQ(yarn->rope.original_context_length, 64U);
    EXPECT_EQ(yarn->rope.yarn_extrapolation_factor, 1.0);
    EXPECT_EQ(yarn->rope.yarn_beta_fast, 16.0);
    EXPECT_EQ(yarn->rope.yarn_beta_slow, 1.0);
    EXPECT_EQ(yarn->rope.attention_factor, 1.0);
}

TEST(Architecture, Phi3LongContextHasFactors) {
    const TinyModel model{.family = "phi3", .has_rope_factors = true};
    const auto written = read(testing::tiny_model(model));
    ASSERT_TRUE(written) << written.error().text();
    EXPECT_EQ(written->rope.scaling, RopeScalingKind::long_rope);
    EXPECT_EQ(written->rope.original_context_length, 64U);
    EXPECT_FLOAT_EQ(static_cast<float>(written->rope.attention_factor), 1.19F);
    EXPECT_EQ(written->sliding_window, 0U);
    // Without the key: sqrt(1 + ln(256 / 64) / ln(64)), which is sqrt(4/3).
    const auto computed = read(without(model, "phi3.rope.scaling.attn_factor"));
    ASSERT_TRUE(computed) << computed.error().text();
    EXPECT_NEAR(computed->rope.attention_factor, std::sqrt(4.0 / 3.0), 1e-12);
}

TEST(Architecture, Phi3AndLlamaLeaveTheSlidingWindowOut) {
    for (const char* family : {"phi3", "llama", "qwen2"}) {
        const auto architecture = read_with({.family = family}, [&](GgufWriter& writer) {
            writer.add(std::string(family) + ".attention.sliding_window", std::uint32_t{2047});
        });
        ASSERT_TRUE(architecture) << architecture.error().text();
        EXPECT_EQ(architecture->sliding_window, 0U);
        EXPECT_FALSE(architecture->layer_is_sliding[0]);
    }
}

TEST(Architecture, Gemma3SlidesInFiveOfSixLayers) {
    const TinyModel model{.family = "gemma3", .layer_count = 13};
    const auto architecture = read(testing::tiny_model(model));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->sliding_window, 8U);
    EXPECT_EQ(architecture->rope.frequency_base, 1e6);
    EXPECT_EQ(architecture->rope.frequency_base_sliding, 1e4);
    for (std::size_t layer = 0; layer < 13; ++layer) {
        EXPECT_EQ(architecture->layer_is_sliding[layer], layer != 5 && layer != 11) << layer;
    }
}

TEST(Architecture, Gemma3PatternAndBaseComeFromTheFileWhereItHasThem) {
    const TinyModel model{.family = "gemma3", .layer_count = 4};
    const auto period = read_with(model, [](GgufWriter& writer) {
        writer.add("gemma3.attention.sliding_window_pattern", std::uint32_t{2});
        writer.add("gemma3.rope.freq_base_swa", 5000.0F);
        writer.add("gemma3.final_logit_softcapping", 30.0F);
    });
    ASSERT_TRUE(period) << period.error().text();
    EXPECT_EQ(period->layer_is_sliding, (std::vector<bool>{true, false, true, false}));
    EXPECT_EQ(period->rope.frequency_base_sliding, 5000.0);
    EXPECT_EQ(period->final_logit_softcap, 30.0);
    const auto listed = [&](std::vector<bool> pattern) {
        return read_with(model, [&](GgufWriter& writer) {
            writer.add("gemma3.attention.sliding_window_pattern", pattern);
        });
    };
    const std::vector<bool> pattern = {true, true, false, true};
    const auto list = listed(pattern);
    ASSERT_TRUE(list) << list.error().text();
    EXPECT_EQ(list->layer_is_sliding, pattern);
    expect_refused(listed({true}), ErrorCode::corrupt_data, "has 1 entries for 4 layers");
}

TEST(Architecture, Gemma3WithoutAWindowSlidesNowhere) {
    const auto missing = read(without({.family = "gemma3"}, "gemma3.attention.sliding_window"));
    const auto zero = read(testing::tiny_model({.family = "gemma3", .sliding_window = 0}));
    for (const auto& architecture : {missing, zero}) {
        ASSERT_TRUE(architecture) << architecture.error().text();
        EXPECT_EQ(architecture->sliding_window, 0U);
        EXPECT_TRUE(std::ranges::none_of(architecture->layer_is_sliding, std::identity()));
    }
}

TEST(Architecture, Gemma3Of27BScalesByTheEmbeddingsShareOfAHead) {
    const TinyModel model{.family = "gemma3", .layer_count = 62, .key_length = 32};
    const auto architecture = read(testing::tiny_model(model));
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_DOUBLE_EQ(architecture->attention_scale, 0.25);  // 64 elements over 4 heads, not 32
}

TEST(Architecture, ExpectedTensorsListEveryLayer) {
    Architecture architecture = testing::tiny_architecture({.family = "qwen3", .layer_count = 3});
    const auto tensors = expected_tensors(architecture);
    const auto named = [&](std::string_view name) {
        const auto found = std::ranges::find(tensors, name, &ExpectedTensor::name);
        return found == tensors.end() ? nullptr : &*found;
    };
    ASSERT_NE(named("blk.2.attn_q_norm.weight"), nullptr);
    EXPECT_EQ(named("blk.2.attn_q_norm.weight")->use, TensorUse::vector);
    EXPECT_EQ(named("blk.3.attn_q_norm.weight"), nullptr);
    ASSERT_NE(named("blk.0.ffn_down.weight"), nullptr);
    EXPECT_EQ(named("blk.0.ffn_down.weight")->shape, (std::array<std::uint64_t, 4>{96, 64, 1, 1}));
    ASSERT_NE(named("rope_freqs.weight"), nullptr);
    EXPECT_EQ(named("rope_freqs.weight")->presence, TensorPresence::optional);
}

}  // namespace
}  // namespace exomesh::model
