// The engine's logits against testing/plain_reference.h, for every family and weight type, on the
// CPU; and against themselves however a batch is cut.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <format>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/device.h"
#include "engine/model_file.h"
#include "engine/sampler.h"
#include "engine/shard.h"
#include "engine/testing/plain_reference.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine {
namespace {

using model::Architecture;
using model::RopeScalingKind;
using model::TensorType;
using testing::SyntheticOptions;

using ModelPointer = std::unique_ptr<const ModelFile>;
using Tokens = std::vector<TokenId>;
using Logits = std::vector<float>;

ModelPointer make_model(const Architecture& architecture, const SyntheticOptions& options) {
    const std::string path =
        ::testing::TempDir() + std::to_string(::getpid()) + "_architecture_reference.gguf";
    const auto written = testing::write_synthetic_model(architecture, options, path);
    EXPECT_TRUE(written.has_value());
    auto file = ModelFile::open(path);
    EXPECT_TRUE(file.has_value()) << file.error().text();
    std::filesystem::remove(path);  // the mapping keeps the bytes
    return file ? std::move(*file) : nullptr;
}

struct Setting {
    std::uint32_t slot_count = 1;
    std::uint32_t thread_count = 1;
    std::uint32_t context_length = 512;
    CacheType cache_type = CacheType::f16;
    AttentionKind attention = AttentionKind::flash;
    WeightLayout weight_layout = WeightLayout::fast;
};

std::unique_ptr<Shard> make_shard(const ModelFile& file, const Setting& setting) {
    auto device = device::DeviceRegistry::instance().cpu();
    EXPECT_TRUE(device.has_value()) << device.error().text();
    ShardOptions options;
    options.device = *device;
    options.thread_count = setting.thread_count;
    options.slot_count = setting.slot_count;
    options.context_length = setting.context_length;
    options.chunk_length = 64;
    options.cache_type = setting.cache_type;
    options.weight_layout = setting.weight_layout;
    options.attention = setting.attention;
    auto shard = Shard::create(file, ShardSlice::whole(file.architecture), options);
    EXPECT_TRUE(shard.has_value()) << shard.error().text();
    return shard ? std::move(*shard) : nullptr;
}

Tokens random_tokens(const ModelFile& file, std::size_t count, std::uint64_t seed = 1) {
    RandomGenerator random(seed);
    Tokens tokens(count);
    for (TokenId& token : tokens) {
        token = static_cast<TokenId>(random.next() % file.architecture.vocabulary_size);
    }
    return tokens;
}

// One step; the rows that came out are added to `logits`.
void step(Shard& shard, const std::vector<SlotTokens>& batch, Logits& logits) {
    const auto result = shard.compute(batch);
    ASSERT_TRUE(result.has_value()) << result.error().text();
    logits.insert(logits.end(), result->begin(), result->end());
}

// Every position's logits, computed in slot 0 in steps of `chunk_length` tokens.
Logits engine_logits(Shard& shard, const Tokens& tokens, std::size_t chunk_length) {
    Logits logits;
    for (std::size_t begin = 0; begin < tokens.size(); begin += chunk_length) {
        const std::size_t count = std::min(chunk_length, tokens.size() - begin);
        step(shard,
             {{.slot = 0,
               .first_position = static_cast<std::uint32_t>(begin),
               .tokens = std::span(tokens).subspan(begin, count),
               .outputs = OutputRows::all}},
             logits);
    }
    return logits;
}

Logits engine_logits(const ModelFile& file, const Tokens& tokens, const Setting& setting = {}) {
    const auto shard = make_shard(file, setting);
    return shard ? engine_logits(*shard, tokens, tokens.size()) : Logits();
}

// The error's share of the variance: 0 where equal, about 2 where unrelated.
double normalized_error(std::span<const float> actual, std::span<const float> expected) {
    EXPECT_EQ(actual.size(), expected.size());
    if (actual.size() != expected.size()) return INFINITY;
    double error = 0.0;
    double sum = 0.0;
    double sum_of_squares = 0.0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const double wanted = static_cast<double>(expected[i]);
        const double difference = static_cast<double>(actual[i]) - wanted;
        error += difference * difference;
        sum += wanted;
        sum_of_squares += wanted * wanted;
    }
    const double variance = sum_of_squares - sum * sum / static_cast<double>(actual.size());
    return std::isfinite(error) ? error / variance : INFINITY;
}

struct Position {
    std::span<const float> actual, expected;
    double error;
};

// Another expert may change a position much, but not to what has nothing to do with it (about 2).
constexpr double outlier_error_max = 1.5;

// Without the `outlier_count` worst, which must still be related to what is expected.
std::vector<Position> positions_of(const Logits& actual, const Logits& expected, std::size_t width,
                                   std::size_t outlier_count) {
    EXPECT_EQ(actual.size(), expected.size());
    std::vector<Position> positions;
    for (std::size_t begin = 0; begin + width <= actual.size(); begin += width) {
        const auto got = std::span(actual).subspan(begin, width);
        const auto wanted = std::span(expected).subspan(begin, width);
        positions.push_back({got, wanted, normalized_error(got, wanted)});
    }
    std::ranges::sort(positions, {}, &Position::error);
    EXPECT_LE(outlier_count, positions.size());
    if (outlier_count > positions.size()) return {};
    if (outlier_count > 0) {
        EXPECT_LT(positions.back().error, outlier_error_max);
    }
    positions.resize(positions.size() - outlier_count);
    return positions;
}

// Where the best token is ahead by more than the error explains, both must name it.
void expect_same_best(const std::vector<Position>& positions, double error) {
    std::size_t clear_count = 0;
    for (const auto& [actual, expected, position_error] : positions) {
        const auto best = std::ranges::max_element(expected) - expected.begin();
        std::vector<float> order(expected.begin(), expected.end());
        std::ranges::sort(order, std::greater<>());
        const double deviation = 4.0 * std::sqrt(error);  // that of the logits is about 4
        if (static_cast<double>(order[0] - order[1]) < 8.0 * deviation) continue;
        ++clear_count;
        EXPECT_EQ(std::ranges::max_element(actual) - actual.begin(), best);
    }
    EXPECT_GT(clear_count * 4, positions.size());
}

struct Case {
    std::string name;
    std::string family;
    SyntheticOptions options = {};
    std::function<void(Architecture&)> change = [](Architecture&) {};
    std::size_t token_count = 24;
    double error_max = 5e-6;  // F16 keys and values, and F32 sums in another order
    // Positions that may be far off: rounding decides between two experts that are nearly as good.
    std::size_t outlier_count = 0;
};

class AgainstPlainReference : public ::testing::TestWithParam<Case> {};

TEST_P(AgainstPlainReference, computes_the_same_logits) {
    const Case& test = GetParam();
    Architecture architecture = testing::tiny_architecture(test.family);
    test.change(architecture);
    architecture.layer_is_sliding.resize(architecture.layer_count, false);
    const ModelPointer file = make_model(architecture, test.options);
    ASSERT_NE(file, nullptr);
    const Tokens tokens = random_tokens(*file, test.token_count);
    constexpr std::uint32_t context_length = 512;
    const Logits expected = testing::plain_logits(file->gguf, file->file.bytes(),
                                                  file->architecture, tokens, context_length);
    for (const AttentionKind attention : {AttentionKind::flash, AttentionKind::plain}) {
        const Logits actual = engine_logits(
            *file, tokens, {.context_length = context_length, .attention = attention});
        const auto positions =
            positions_of(actual, expected, architecture.vocabulary_size, test.outlier_count);
        double error = 0.0;
        for (const Position& position : positions) error += position.error;
        error /= static_cast<double>(positions.size());
        RecordProperty(attention == AttentionKind::flash ? "flash" : "plain",
                       std::format("{:.2e}", error));
        EXPECT_LT(error, test.error_max);
        expect_same_best(positions, error);
    }
}

std::vector<Case> family_cases() {
    std::vector<Case> cases;
    for (const char* family : {"llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"}) {
        const bool has_biases = std::string(family) == "qwen2";
        cases.push_back({.name = std::string(family) + "_f32",
                         .family = family,
                         .options = {.has_biases = has_biases}});
        cases.push_back({.name = std::string(family) + "_q8_0",
                         .family = family,
                         .options = {.weight_type = TensorType::q8_0, .has_biases = has_biases},
                         .error_max = 2e-3,
                         .outlier_count = family == std::string("qwen3moe") ? 6U : 0U});
    }
    return cases;
}

std::vector<Case> type_cases() {
    std::vector<Case> cases;
    const auto add = [&](TensorType type, double error_max) {
        const std::string name(model::tensor_type_traits(type).name);
        for (const char* family : {"llama", "qwen3moe"}) {
            cases.push_back({.name = std::string(family) + "_" + name,
                             .family = family,
                             .options = {.weight_type = type},
                             .error_max = error_max,
                             .outlier_count = family == std::string("qwen3moe") ? 6U : 0U});
        }
    };
    add(TensorType::f16, 1e-5);
    add(TensorType::bf16, 1e-3);
    // Activations are rounded to 8 bits in blocks of 32 or, for K-quants, 256.
    for (const TensorType type :
         {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1, TensorType::q2_k,
          TensorType::q3_k, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k,
          TensorType::iq4_nl, TensorType::mxfp4}) {
        add(type, 2e-3);
    }
    return cases;
}

void set_heads(Architecture& architecture, std::uint32_t heads, std::uint32_t kv_heads,
               std::uint32_t length) {
    architecture.head_count = heads;
    architecture.key_value_head_count = kv_heads;
    architecture.key_length = length;
    architecture.value_length = length;
    architecture.rope.dimension_count = length;
    architecture.attention_scale = 1.0 / std::sqrt(length);
}

std::vector<Case> shape_cases() {
    return {
        {.name = "three_kv_heads",
         .family = "llama",
         .change = [](Architecture& a) { set_heads(a, 6, 3, 64); }},
        {.name = "three_kv_heads_k_quant",
         .family = "llama",
         .options = {.weight_type = TensorType::q4_k},
         .change = [](Architecture& a) { set_heads(a, 6, 3, 64); },
         .error_max = 2e-3},
        {.name = "one_kv_head",
         .family = "gemma3",
         .change = [](Architecture& a) { set_heads(a, 4, 1, 128); }},
        {.name = "as_many_kv_heads",
         .family = "phi3",
         .change = [](Architecture& a) { set_heads(a, 4, 4, 64); }},
        {.name = "wide_heads",
         .family = "qwen3",
         .change = [](Architecture& a) { set_heads(a, 4, 2, 256); }},
        {.name = "partial_rotation",
         .family = "phi3",
         .change = [](Architecture& a) { a.rope.dimension_count = 48; }},
        {.name = "tied_output",
         .family = "llama",
         .change = [](Architecture& a) { a.tied_output = true; }},
        {.name = "own_output_of_another_type",
         .family = "llama",
         .options = {.weight_type = TensorType::q4_0, .output_type = TensorType::q6_k},
         .error_max = 2e-3},
        {.name = "softcap",
         .family = "gemma3",
         .change = [](Architecture& a) { a.final_logit_softcap = 5.0; }},
        {.name = "fused_biases", .family = "phi3", .options = {.has_biases = true}},
        {.name = "one_expert",
         .family = "qwen3moe",
         .change = [](Architecture& a) { a.experts->used_count = 1; }},
        {.name = "experts_scaled",
         .family = "llama",
         .change =
             [](Architecture& a) {
                 a.experts = model::Experts{.count = 4,
                                            .used_count = 3,
                                            .feed_forward_length = a.feed_forward_length,
                                            .weights_normalized = true,
                                            .weights_scale = 2.5};
             }},
        {.name = "short_window",
         .family = "gemma3",
         .change = [](Architecture& a) { a.sliding_window = 3; }},
        {.name = "window_far_behind",
         .family = "gemma3",
         .change = [](Architecture& a) { a.layer_is_sliding = {true, false, true}; },
         .token_count = 300},
    };
}

std::vector<Case> rope_cases() {
    const auto scaled = [](RopeScalingKind kind, double factor, std::uint32_t original_length) {
        return [=](Architecture& a) {
            a.rope.scaling = kind;
            a.rope.scaling_factor = factor;
            a.rope.original_context_length = original_length;
        };
    };
    return {
        {.name = "rope_factors", .family = "llama", .options = {.has_rope_factors = true}},
        {.name = "linear", .family = "llama", .change = scaled(RopeScalingKind::linear, 4.0, 512)},
        {.name = "linear_beside_sliding",
         .family = "gemma3",
         .change = scaled(RopeScalingKind::linear, 8.0, 512)},
        {.name = "yarn", .family = "qwen2", .change = scaled(RopeScalingKind::yarn, 4.0, 128)},
        {.name = "yarn_adjacent",
         .family = "llama",
         .change = scaled(RopeScalingKind::yarn, 8.0, 64)},
        {.name = "long_rope_short_factors",
         .family = "phi3",
         .change = scaled(RopeScalingKind::long_rope, 1.0, 512)},
        {.name = "long_rope_long_factors",
         .family = "phi3",
         .change = scaled(RopeScalingKind::long_rope, 1.0, 128)},
        {.name = "own_attention_factor",
         .family = "qwen3",
         .change = [](Architecture& a) { a.rope.attention_factor = 1.3; }},
    };
}

std::string name_of(const ::testing::TestParamInfo<Case>& test) {
    return test.param.name;
}

INSTANTIATE_TEST_SUITE_P(Families, AgainstPlainReference, ::testing::ValuesIn(family_cases()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Types, AgainstPlainReference, ::testing::ValuesIn(type_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Shapes, AgainstPlainReference, ::testing::ValuesIn(shape_cases()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Rope, AgainstPlainReference, ::testing::ValuesIn(rope_cases()), name_of);

// However a batch is cut, a sequence's logits are the same but for the order of F32 sums.
class AgainstItself : public ::testing::TestWithParam<const char*> {
  protected:
    static constexpr double error_max = 2e-6;

    void SetUp() override {
        file_ = make_model(testing::tiny_architecture(GetParam()),
                           {.has_biases = std::string(GetParam()) == "qwen2"});
        ASSERT_NE(file_, nullptr);
    }
    ModelPointer file_;
};

TEST_P(AgainstItself, a_prompt_in_chunks_gives_what_it_gives_at_once) {
    const Tokens tokens = random_tokens(*file_, 70);
    const Logits at_once = engine_logits(*file_, tokens);
    for (const std::size_t chunk_length : {1U, 16U, 33U}) {
        const auto shard = make_shard(*file_, {});
        EXPECT_LT(normalized_error(engine_logits(*shard, tokens, chunk_length), at_once),
                  error_max);
    }
}

TEST_P(AgainstItself, the_last_row_alone_is_the_last_of_all_rows) {
    const Tokens tokens = random_tokens(*file_, 20);
    const Logits all = engine_logits(*file_, tokens);
    const auto shard = make_shard(*file_, {});
    Logits last;
    step(*shard,
         {{.slot = 0,
           .first_position = 0,
           .tokens = std::span(tokens).first(15),
           .outputs = OutputRows::none}},
         last);
    EXPECT_TRUE(last.empty());
    step(*shard, {{.slot = 0, .first_position = 15, .tokens = std::span(tokens).subspan(15)}},
         last);
    const std::size_t width = shard->output_length();
    EXPECT_LT(normalized_error(last, std::span(all).last(width)), error_max);
}

// Slots prefill and decode side by side, of different lengths and not all in every step.
TEST_P(AgainstItself, slots_do_not_see_each_other) {
    constexpr std::uint32_t slot_count = 4;
    std::vector<Tokens> tokens;
    std::vector<Logits> alone;
    for (std::uint32_t slot = 0; slot < slot_count; ++slot) {
        tokens.push_back(random_tokens(*file_, 30 + 9 * slot, slot));
        alone.push_back(engine_logits(*file_, tokens[slot]));
    }
    const auto shard = make_shard(*file_, {.slot_count = slot_count, .thread_count = 2});
    const std::size_t width = shard->output_length();
    std::vector<Logits> together(slot_count);
    RandomGenerator random(4);
    for (;;) {
        std::vector<SlotTokens> batch;
        for (std::uint32_t slot = 0; slot < slot_count; ++slot) {
            const std::size_t done = together[slot].size() / width;
            const std::size_t open_count = tokens[slot].size() - done;
            if (open_count == 0 || random.next() % 8 == 0) continue;
            const std::size_t count = std::min<std::size_t>(
                open_count, random.next() % 2 == 0 ? 1 : 1 + random.next() % 12);
            batch.push_back({.slot = slot,
                             .first_position = static_cast<std::uint32_t>(done),
                             .tokens = std::span(tokens[slot]).subspan(done, count),
                             .outputs = OutputRows::all});
        }
        if (batch.empty()) {
            if (std::ranges::equal(together, alone, {}, &Logits::size, &Logits::size)) break;
            continue;
        }
        Logits rows;
        step(*shard, batch, rows);
        auto row = rows.begin();
        for (const SlotTokens& part : batch) {
            const auto end = row + static_cast<std::ptrdiff_t>(part.tokens.size() * width);
            together[part.slot].insert(together[part.slot].end(), row, end);
            row = end;
        }
    }
    for (std::uint32_t slot = 0; slot < slot_count; ++slot) {
        EXPECT_LT(normalized_error(together[slot], alone[slot]), error_max);
    }
}

TEST_P(AgainstItself, a_copied_slot_goes_on_like_the_original) {
    const Tokens tokens = random_tokens(*file_, 40);
    const auto shard = make_shard(*file_, {.slot_count = 2});
    const Logits all = engine_logits(*shard, tokens, tokens.size());
    ASSERT_TRUE(shard->copy_slot(0, 1, 25));
    Logits rest;
    step(*shard,
         {{.slot = 1,
           .first_position = 25,
           .tokens = std::span(tokens).subspan(25),
           .outputs = OutputRows::all}},
         rest);
    const auto expected = std::span(all).subspan(std::size_t{25} * shard->output_length());
    EXPECT_LT(normalized_error(rest, expected), error_max);
}

TEST_P(AgainstItself, an_8_bit_cache_is_close_to_the_16_bit_one) {
    const Tokens tokens = random_tokens(*file_, 60);
    const Logits half = engine_logits(*file_, tokens);
    const Logits eight = engine_logits(*file_, tokens, {.cache_type = CacheType::q8_0});
    const double error = normalized_error(eight, half);
    EXPECT_LT(error, 2e-3);
    EXPECT_GT(error, 0.0);
    const Logits whole = engine_logits(*file_, tokens, {.cache_type = CacheType::f32});
    EXPECT_LT(normalized_error(half, whole), error / 2);
    EXPECT_NE(half, whole);
}

INSTANTIATE_TEST_SUITE_P(Families, AgainstItself,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace exomesh::engine
