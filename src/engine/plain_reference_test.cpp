// What can be known about the reference without another one: what must not matter does not, and
// each property of an architecture matters more than the tolerances of
// architecture_reference_test.cpp.
#include "engine/testing/plain_reference.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "engine/model_file.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine::testing {
namespace {

using model::Architecture;
using model::RopeScalingKind;

constexpr std::uint32_t context_length = 512;
constexpr std::size_t width = synthetic_vocabulary_size_min;
const std::vector<TokenId> some_tokens = {7,   300, 12,  90, 350, 7,  41,  222, 180, 3,
                                          255, 101, 320, 64, 128, 12, 199, 7,   370, 5};

std::unique_ptr<const ModelFile> make_model(const Architecture& architecture,
                                            const SyntheticOptions& options = {}) {
    const std::string path =
        ::testing::TempDir() + std::to_string(::getpid()) + "_plain_reference.gguf";
    EXPECT_TRUE(write_synthetic_model(architecture, options, path).has_value());
    auto file = ModelFile::open(path);
    EXPECT_TRUE(file.has_value());
    std::filesystem::remove(path);  // the mapping keeps the bytes
    return std::move(*file);
}

std::vector<float> logits_of(const ModelFile& file, const Architecture& architecture,
                             std::span<const TokenId> tokens = some_tokens) {
    return plain_logits(file.gguf, file.file.bytes(), architecture, tokens, context_length);
}

double distance(std::span<const float> a, std::span<const float> b) {
    EXPECT_EQ(a.size(), b.size());
    double difference = 0.0;
    double size = 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        size += std::pow(static_cast<double>(b[i]), 2);
    }
    return difference / size;
}

TEST(PlainReference, a_token_sees_nothing_behind_itself) {
    const auto file = make_model(tiny_architecture("llama"));
    const auto all = logits_of(*file, file->architecture);
    const auto front = logits_of(*file, file->architecture, std::span(some_tokens).first(9));
    EXPECT_EQ(distance(front, std::span(all).first(9 * width)), 0.0);
}

// Two layers with a window of 4 look 6 tokens back together, the token itself not counted.
TEST(PlainReference, a_window_ends_what_is_seen) {
    Architecture architecture = tiny_architecture("gemma3");
    architecture.layer_count = 2;
    architecture.sliding_window = 4;
    architecture.layer_is_sliding = {true, true};
    const auto file = make_model(architecture);
    const auto all = logits_of(*file, file->architecture);
    for (const std::size_t changed : {0U, 5U}) {
        std::vector<TokenId> tokens = some_tokens;
        ++tokens[changed];
        const auto other = logits_of(*file, file->architecture, tokens);
        const std::size_t last_seen = changed + 6;
        const auto row = [&](const std::vector<float>& logits, std::size_t position) {
            return std::span(logits).subspan(position * width, width);
        };
        EXPECT_GT(distance(row(other, last_seen), row(all, last_seen)), 0.0);
        EXPECT_EQ(distance(row(other, last_seen + 1), row(all, last_seen + 1)), 0.0);
    }
}

// RoPE's point: only distances between positions count, so that a constant shift of a lone layer's
// whole input changes nothing. Shown on the last token of a sequence whose front is out of its
// window.
TEST(PlainReference, only_distances_between_positions_count) {
    Architecture architecture = tiny_architecture("gemma3");
    architecture.layer_count = 1;
    architecture.sliding_window = 6;
    architecture.layer_is_sliding = {true};
    const auto file = make_model(architecture);
    const std::span tokens(some_tokens);
    const auto late = logits_of(*file, file->architecture, tokens);
    const auto early = logits_of(*file, file->architecture, tokens.last(6));
    EXPECT_LT(distance(std::span(early).last(width), std::span(late).last(width)), 1e-12);
}

struct Change {
    const char* what;
    const char* family;
    void (*apply)(Architecture&);
};

void scale_positions(Architecture& a) {
    a.rope.scaling = RopeScalingKind::linear;
    a.rope.scaling_factor = 2.0;
}

void use_yarn(Architecture& a) {
    a.rope.scaling = RopeScalingKind::yarn;
    a.rope.scaling_factor = 2.0;
    a.rope.original_context_length = 64;
    a.rope.yarn_extrapolation_factor = 1.0;
}

const std::vector<Change> changes = {
    {"rope kind", "llama", [](Architecture& a) { a.rope.kind = model::RopeKind::halves; }},
    {"rope base", "llama", [](Architecture& a) { a.rope.frequency_base = 20000.0; }},
    {"rope dimensions", "phi3", [](Architecture& a) { a.rope.dimension_count = 32; }},
    {"sliding rope base", "gemma3", [](Architecture& a) { a.rope.frequency_base_sliding = 5e3; }},
    {"linear scaling", "llama", scale_positions},
    {"linear scaling beside sliding layers", "gemma3", scale_positions},
    {"YaRN", "llama", use_yarn},
    {"YaRN instead of linear", "llama",
     [](Architecture& a) {
         use_yarn(a);
         a.rope.attention_factor = 1.0 / (1.0 + 0.1 * std::numbers::ln2);
     }},
    {"attention factor", "llama", [](Architecture& a) { a.rope.attention_factor = 1.05; }},
    {"attention scale", "llama", [](Architecture& a) { a.attention_scale *= 1.05; }},
    {"embedding scale", "gemma3", [](Architecture& a) { a.embedding_scale *= 1.1; }},
    {"softcap", "llama", [](Architecture& a) { a.final_logit_softcap = 30.0; }},
    {"activation", "llama", [](Architecture& a) { a.activation = model::Activation::gelu; }},
    {"window", "gemma3", [](Architecture& a) { a.sliding_window -= 1; }},
    {"sliding layers", "gemma3", [](Architecture& a) { a.layer_is_sliding[2] = true; }},
    {"query and key norm", "qwen3", [](Architecture& a) { a.query_key_norm = false; }},
    {"post norms", "gemma3", [](Architecture& a) { a.post_norms = false; }},
    {"experts used", "qwen3moe", [](Architecture& a) { a.experts->used_count = 3; }},
    {"expert weights", "qwen3moe", [](Architecture& a) { a.experts->weights_normalized = false; }},
    {"expert scale", "qwen3moe", [](Architecture& a) { a.experts->weights_scale = 1.1; }},
    {"norm epsilon", "llama", [](Architecture& a) { a.norm_epsilon = 1e-2; }},
};

TEST(PlainReference, every_property_matters_more_than_the_tolerance) {
    for (const Change& change : changes) {
        const auto file = make_model(tiny_architecture(change.family));
        const auto before = logits_of(*file, file->architecture);
        Architecture changed = file->architecture;
        change.apply(changed);
        EXPECT_GT(distance(logits_of(*file, changed), before), 2e-5) << change.what;
    }
}

TEST(PlainReference, long_contexts_take_the_long_factors) {
    Architecture architecture = tiny_architecture("phi3");
    architecture.rope.scaling = RopeScalingKind::long_rope;
    architecture.rope.original_context_length = 256;
    const auto file = make_model(architecture);
    const auto at = [&](std::uint32_t length) {
        return plain_logits(file->gguf, file->file.bytes(), file->architecture, some_tokens,
                            length);
    };
    EXPECT_EQ(at(128), at(256));
    EXPECT_GT(distance(at(257), at(256)), 1e-4);
}

}  // namespace
}  // namespace exomesh::engine::testing
