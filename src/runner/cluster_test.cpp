// A model on several ranks against the same model on one: every family, every way to cut it.
#include "runner/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>
#include <functional>
#include <string>
#include <vector>

#include "engine/open_shard.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::testing::SyntheticOptions;
using engine::testing::tiny_architecture;
using model::Architecture;
using model::TensorType;
using testing::normalized_error;
using testing::TemporaryModel;

struct Cut {
    std::string name;
    std::size_t rank_count = 2;
    std::string split = "tensor";
    std::vector<double> shares = {};
    bool is_head_idle = false;  // not one of the ranks that are counted
};

// 2 KV heads or so: from 3 ranks on there is one without attention.
std::vector<Cut> all_cuts() {
    return {
        {.name = "tensor 2", .rank_count = 2},
        {.name = "tensor 3", .rank_count = 3},
        {.name = "tensor 4", .rank_count = 4},
        {.name = "tensor 0.7/0.3", .rank_count = 2, .shares = {0.7, 0.3}},
        {.name = "tensor 0.5/0.3/0.2", .rank_count = 3, .shares = {0.5, 0.3, 0.2}},
        {.name = "tensor, nothing for rank 1", .rank_count = 3, .shares = {0.5, 0, 0.5}},
        {.name = "tensor, nothing for the head", .rank_count = 3, .shares = {0, 0.6, 0.4}},
        {.name = "pipeline 2", .rank_count = 2, .split = "pipeline"},
        {.name = "pipeline 3", .rank_count = 3, .split = "pipeline"},
        {.name = "pipeline 0.7/0.3", .rank_count = 2, .split = "pipeline", .shares = {0.7, 0.3}},
        {.name = "hybrid 2x2", .rank_count = 4, .split = "2x2"},
        {.name = "layers", .rank_count = 3, .split = "0:cpu 1-2:cpu*0.6+cpu*0.4"},
        {.name = "hybrid uneven", .rank_count = 4, .split = "2x2", .shares = {0.4, 0.2, 0.1, 0.3}},
        {.name = "one worker, idle head", .rank_count = 1, .is_head_idle = true},
        {.name = "tensor 0.7/0.3, idle head",
         .rank_count = 2,
         .shares = {0.7, 0.3},
         .is_head_idle = true},
        {.name = "pipeline 2, idle head",
         .rank_count = 2,
         .split = "pipeline",
         .is_head_idle = true},
        {.name = "hybrid 2x2, idle head", .rank_count = 4, .split = "2x2", .is_head_idle = true},
    };
}

Result<std::vector<float>> play_alone(const TemporaryModel& model,
                                      const engine::EngineOptions& options) {
    EXO_TRY_ASSIGN(const auto opened, engine::open_shard(model.file(), options));
    return testing::play(*opened.shard);
}

Result<std::vector<float>> play_together(const TemporaryModel& model,
                                         const engine::EngineOptions& options, const Cut& cut,
                                         WireType wire) {
    EXO_TRY_ASSIGN(const net::Identity head, net::Identity::generate());
    EXO_TRY_ASSIGN(const Split split, parse_split(cut.split));
    ThreadRunnerHost workers;
    const std::size_t worker_count = cut.rank_count - (cut.is_head_idle ? 0 : 1);
    EXO_TRY(workers.start(static_cast<std::uint32_t>(worker_count), head.peer_id()));
    Result<std::vector<float>> logits;
    {
        const ClusterOptions cluster{.identity = head,
                                     .workers = workers.addresses(),
                                     .is_head_idle = cut.is_head_idle,
                                     .split = split,
                                     .shares = cut.shares,
                                     .devices = {},
                                     .wire = wire,
                                     .spin_us = 0,
                                     .checks_sums = true};
        EXO_TRY_ASSIGN(const auto opened, open_cluster(model.file(), options, cluster));
        logits = testing::play(*opened.shard);
    }
    for (std::size_t i = 0; i < worker_count; ++i) EXO_TRY(workers.join(i));
    return logits;
}

struct Tolerance {
    double error_max = 5e-6;        // sums in another order
    std::size_t outlier_count = 0;  // rows where rounding decides between two experts
};

void expect_the_same(const Architecture& architecture, const SyntheticOptions& synthetic,
                     const std::vector<Cut>& cuts, WireType wire, const Tolerance& tolerance,
                     const std::function<void(engine::EngineOptions&)>& change = {}) {
    const TemporaryModel model(architecture, synthetic);
    engine::EngineOptions options = testing::play_options(model);
    if (change) change(options);
    const auto expected = play_alone(model, options);
    ASSERT_TRUE(expected.has_value()) << expected.error().text();
    double largest = 0;
    for (const Cut& cut : cuts) {
        SCOPED_TRACE(cut.name);
        const auto actual = play_together(model, options, cut, wire);
        ASSERT_TRUE(actual.has_value()) << actual.error().text();
        const double error = normalized_error(*actual, *expected, architecture.vocabulary_size,
                                              tolerance.outlier_count);
        EXPECT_LT(error, tolerance.error_max);
        // The same numbers in the same order, only elsewhere.
        const bool is_alone = cut.rank_count == 1;
        const bool is_exact = is_alone || (cut.split == "pipeline" && wire == WireType::f32);
        EXPECT_TRUE(!is_exact || *actual == *expected);
        largest = std::max(largest, error);
    }
    ::testing::Test::RecordProperty("largest_error", std::format("{:.2e}", largest));
}

Architecture three_layers(const std::string& family) {
    Architecture architecture = tiny_architecture(family);
    architecture.layer_count = 3;
    architecture.layer_is_sliding.resize(3, false);
    return architecture;
}

class ClusterOfFamily : public ::testing::TestWithParam<const char*> {
  protected:
    [[nodiscard]] static SyntheticOptions synthetic(TensorType type) {
        return {.weight_type = type, .has_biases = GetParam() == std::string("qwen2")};
    }
    [[nodiscard]] static std::size_t outlier_count() {
        return GetParam() == std::string("qwen3moe") ? 8 : 0;
    }
};

TEST_P(ClusterOfFamily, computes_what_one_rank_does_however_it_is_cut) {
    expect_the_same(three_layers(GetParam()), synthetic(TensorType::f32), all_cuts(), WireType::f32,
                    {});
}

TEST_P(ClusterOfFamily, is_close_with_rounded_sums) {
    const std::vector<Cut> cuts = {{.name = "tensor 2", .rank_count = 2},
                                   {.name = "tensor 3", .rank_count = 3},
                                   {.name = "pipeline 2", .rank_count = 2, .split = "pipeline"},
                                   {.name = "hybrid 2x2", .rank_count = 4, .split = "2x2"}};
    const Architecture architecture = three_layers(GetParam());
    expect_the_same(architecture, synthetic(TensorType::f32), cuts, WireType::f16,
                    {.error_max = 1e-5, .outlier_count = outlier_count()});
    expect_the_same(architecture, synthetic(TensorType::f32), cuts, WireType::q8_0,
                    {.error_max = 1e-3, .outlier_count = outlier_count()});
}

INSTANTIATE_TEST_SUITE_P(Families, ClusterOfFamily,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"),
                         [](const auto& test) { return std::string(test.param); });

class ClusterOfType : public ::testing::TestWithParam<TensorType> {};

TEST_P(ClusterOfType, computes_what_one_rank_does) {
    // Blocks of 256 want wide enough matrices to be cut at all.
    Architecture llama = three_layers("llama");
    llama.head_count = 8;
    llama.key_value_head_count = 8;
    llama.feed_forward_length = 1024;
    const std::vector<Cut> cuts = {
        {.name = "tensor 2", .rank_count = 2},
        {.name = "tensor 0.5/0.3/0.2", .rank_count = 3, .shares = {0.5, 0.3, 0.2}},
        {.name = "hybrid 2x2", .rank_count = 4, .split = "2x2"}};
    const Tolerance tolerance{.error_max = 1e-3};
    expect_the_same(llama, {.weight_type = GetParam()}, cuts, WireType::f32, tolerance);
    expect_the_same(llama, {.weight_type = GetParam()}, cuts, WireType::f32, tolerance,
                    [](engine::EngineOptions& options) {
                        options.weight_layout = engine::WeightLayout::exact;
                    });
}

TEST_P(ClusterOfType, computes_what_one_rank_does_with_experts) {
    const std::vector<Cut> cuts = {{.name = "tensor 2", .rank_count = 2},
                                   {.name = "pipeline 2", .rank_count = 2, .split = "pipeline"}};
    expect_the_same(three_layers("qwen3moe"), {.weight_type = GetParam()}, cuts, WireType::f32,
                    {.error_max = 1e-3, .outlier_count = 8});
}

INSTANTIATE_TEST_SUITE_P(Types, ClusterOfType,
                         ::testing::Values(TensorType::f16, TensorType::q8_0, TensorType::q4_0,
                                           TensorType::q4_1, TensorType::q4_k, TensorType::q6_k,
                                           TensorType::mxfp4),
                         [](const auto& test) {
                             return std::string(model::tensor_type_traits(test.param).name);
                         });

TEST(Cluster, cuts_the_query_heads_of_a_single_key_value_head) {
    Architecture gemma = three_layers("gemma3");
    gemma.key_value_head_count = 1;
    expect_the_same(gemma, {}, all_cuts(), WireType::f32, {});
    expect_the_same(gemma, {.weight_type = TensorType::q8_0}, all_cuts(), WireType::f32,
                    {.error_max = 1e-3});
}

TEST(Cluster, leaves_a_rank_without_attention_where_heads_are_few) {
    Architecture llama = three_layers("llama");  // SmolLM2 has 3 KV heads of 64
    llama.head_count = 9;
    llama.key_value_head_count = 3;
    expect_the_same(llama, {.weight_type = TensorType::q8_0}, all_cuts(), WireType::f32,
                    {.error_max = 1e-3});
}

TEST(Cluster, cuts_a_vocabulary_that_no_number_of_ranks_divides) {
    for (const char* family : {"llama", "gemma3"}) {  // with an output of its own, and tied
        Architecture architecture = three_layers(family);
        architecture.vocabulary_size = 397;
        expect_the_same(architecture, {.weight_type = TensorType::q8_0}, all_cuts(), WireType::f32,
                        {.error_max = 1e-3});
    }
}

TEST(Cluster, has_more_ranks_than_there_is_to_share) {
    const std::vector<Cut> cuts = {
        {.name = "tensor 7", .rank_count = 7},
        {.name = "hybrid 3x2", .rank_count = 6, .split = "3x2"},
        {.name = "next to nothing for rank 1", .rank_count = 2, .shares = {1.0, 1e-9}}};
    expect_the_same(three_layers("llama"), {.weight_type = TensorType::q4_0}, cuts, WireType::f32,
                    {.error_max = 1e-3});
}

TEST(Cluster, is_refused_where_a_stage_would_have_no_layer) {
    const TemporaryModel model(three_layers("llama"), {});
    const auto refused =
        play_together(model, testing::play_options(model),
                      {.name = "", .rank_count = 4, .split = "pipeline"}, WireType::f32);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message, ::testing::HasSubstr("the model has 3 layers"));
}

TEST(Cluster, computes_the_same_with_plain_attention_and_an_8_bit_cache) {
    const std::vector<Cut> cuts = {{.name = "tensor 2", .rank_count = 2},
                                   {.name = "hybrid 2x2", .rank_count = 4, .split = "2x2"}};
    expect_the_same(three_layers("qwen3"), {}, cuts, WireType::f32, {},
                    [](engine::EngineOptions& options) { options.flash_attention = false; });
    expect_the_same(
        three_layers("qwen3"), {}, cuts, WireType::f32, {.error_max = 1e-3},
        [](engine::EngineOptions& options) { options.cache_type = engine::CacheType::q8_0; });
    expect_the_same(
        three_layers("qwen3"), {}, cuts, WireType::f32, {},
        [](engine::EngineOptions& options) { options.cache_type = engine::CacheType::f32; });
}

}  // namespace
}  // namespace exomesh::runner
