// From what was measured to what a cluster is opened with.
#include "runner/choose_cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "base/assert.h"
#include "engine/open_shard.h"
#include "engine/partition.h"
#include "placement/whole_units.h"
#include "runner/cluster.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

constexpr std::size_t layer_count = 24;

// 1 GB: a layer has 40 MB, the output 40 MB.
placement::ModelCost one_gigabyte() {
    const auto part = [](double bytes) {
        return placement::PartCost{.size_bytes = bytes, .read_bytes = bytes};
    };
    return {.attention = std::vector(layer_count, part(10e6)),
            .feed_forward = std::vector(layer_count, part(30e6)),
            .output = part(40e6),
            .embedding_bytes = 40e6,
            .embedding_length = 2048};
}

RankCandidate here(const std::string& device) {
    return {.device = device, .worker = {}};
}

RankCandidate there(const std::string& device, const std::string& host) {
    const auto identity = net::Identity::generate();
    EXO_ASSERT(identity.has_value());
    return {.device = device,
            .worker = WorkerAddress{.host = host, .port = 4710, .peer_id = identity->peer_id()}};
}

DeviceSurvey device(const std::string& processor, double gigabytes_per_s,
                    std::uint64_t memory_bytes = 64'000'000'000) {
    return {.processor = processor,
            .device = "cpu",
            .memory_bytes = memory_bytes,
            .read_bytes_per_s = gigabytes_per_s * 1e9};
}

constexpr LinkFigures near{.latency_us = 20, .bytes_per_ms = 1'000'000};

TEST(ChooseCluster, joins_two_processors_by_their_speed) {
    const std::vector<RankCandidate> candidates = {here("auto"), there("cuda0", "10.0.0.2")};
    const auto choice =
        choose_by_surveys(one_gigabyte(), {},
                          {{.candidate = 0, .device = device("a cpu", 10)},
                           {.candidate = 1, .device = device("b cpu", 30), .link = near}},
                          candidates);
    EXPECT_EQ(choice.kind, placement::ChosenKind::tensor);
    EXPECT_THAT(choice.left_out, IsEmpty());
    const ChosenRanks ranks = chosen_ranks(choice, candidates);
    EXPECT_EQ(ranks.split.kind, SplitKind::hybrid);
    EXPECT_EQ(ranks.split.stage_count, 1U);
    EXPECT_EQ(ranks.split.ranks_per_stage, 2U);
    EXPECT_THAT(ranks.shares, ElementsAre(DoubleEq(0.25), DoubleEq(0.75)));
    EXPECT_THAT(ranks.devices, ElementsAre("auto", "cuda0"));
    EXPECT_EQ(ranks.local_count, 1U);
    EXPECT_THAT(ranks.peers, ElementsAre(Field(&WorkerAddress::host, "10.0.0.2")));
}

// Nobody knows anything of candidate 1.
TEST(ChooseCluster, keeps_the_ranks_behind_one_that_cannot_be_measured) {
    const std::vector<RankCandidate> candidates = {here("cpu"), here("vulkan0"),
                                                   there("cpu", "10.0.0.2")};
    const auto choice =
        choose_by_surveys(one_gigabyte(), {},
                          {{.candidate = 0, .device = device("a cpu", 20)},
                           {.candidate = 2, .device = device("b cpu", 20), .link = near}},
                          candidates);
    EXPECT_THAT(choice.ranks, ElementsAre(0, 2));
    const ChosenRanks ranks = chosen_ranks(choice, candidates);
    EXPECT_THAT(ranks.devices, ElementsAre("cpu", "cpu"));
    EXPECT_EQ(ranks.local_count, 1U);
    EXPECT_THAT(ranks.peers, ElementsAre(Field(&WorkerAddress::host, "10.0.0.2")));
}

TEST(ChooseCluster, leaves_a_rank_of_this_machine_out) {
    const std::vector<RankCandidate> candidates = {here("cpu"), here("cpu"), here("vulkan0"),
                                                   there("cpu", "10.0.0.2")};
    const auto choice =
        choose_by_surveys(one_gigabyte(), {},
                          {{.candidate = 0, .device = device("a cpu", 20)},
                           {.candidate = 1, .device = device("a cpu", 18)},
                           {.candidate = 2, .device = device("a 0000:c1:00.0", 20)},
                           {.candidate = 3, .device = device("b cpu", 20), .link = near}},
                          candidates);
    EXPECT_THAT(choice.ranks, ElementsAre(0, 2, 3));
    EXPECT_THAT(choice.left_out,
                ElementsAre("rank 1 (cpu) computes on the processor of rank 0 (cpu)"));
    const ChosenRanks ranks = chosen_ranks(choice, candidates);
    EXPECT_THAT(ranks.devices, ElementsAre("cpu", "vulkan0", "cpu"));
    EXPECT_EQ(ranks.local_count, 2U);
    EXPECT_THAT(ranks.peers, ElementsAre(Field(&WorkerAddress::host, "10.0.0.2")));
}

// Four memories are needed; two ranks are near each other, and so are, less so, two others.
TEST(ChooseCluster, makes_two_stages_of_two) {
    const std::vector<RankCandidate> candidates = {
        here("cpu"), here("vulkan0"), there("cpu", "10.0.0.2"), there("cpu", "10.0.0.3")};
    constexpr LinkFigures far{.latency_us = 1600, .bytes_per_ms = 1'000'000};
    constexpr std::uint64_t third = 350'000'000;
    const auto choice =
        choose_by_surveys(one_gigabyte(), {},
                          {{.candidate = 0, .device = device("a cpu", 10, third)},
                           {.candidate = 1, .device = device("a 0000:c1:00.0", 10, third)},
                           {.candidate = 2, .device = device("b cpu", 10, third), .link = far},
                           {.candidate = 3, .device = device("c cpu", 10, third), .link = far}},
                          candidates);
    EXPECT_EQ(choice.kind, placement::ChosenKind::hybrid) << placement::choice_text(choice);
    const ChosenRanks ranks = chosen_ranks(choice, candidates);
    EXPECT_EQ(ranks.split.stage_count, 2U);
    EXPECT_EQ(ranks.split.ranks_per_stage, 2U);
    EXPECT_EQ(ranks.shares.size(), 4U);
    EXPECT_THAT(ranks.devices, ElementsAre("cpu", "vulkan0", "cpu", "cpu"));
    EXPECT_EQ(ranks.local_count, 2U);
    EXPECT_EQ(ranks.peers.size(), 2U);
}

// SmolLM2 135M has three KV heads, and a cluster cuts between them.
TEST(ChooseCluster, knows_where_a_model_can_be_cut) {
    model::Architecture architecture = engine::testing::tiny_architecture("llama");
    architecture.head_count = 6;
    architecture.key_value_head_count = 3;
    const testing::TemporaryModel model(architecture, {});
    const placement::TensorUnits units = cost_of(model.file(), engine::CacheType::f16).units;
    EXPECT_EQ(units.attention, 3U);
    const std::vector<double> shares = {0.5, 0.5};
    const auto planned = plan_ranks(model.file(), {}, 2, shares);
    ASSERT_TRUE(planned.has_value()) << planned.error().text();
    const auto is_predicted = [&](std::uint32_t unit_count, engine::Range part,
                                  std::uint32_t whole) {
        EXPECT_NEAR(placement::in_whole_units(unit_count, shares).front(),
                    static_cast<double>(part.count) / whole, 1e-9);
    };
    const engine::ShardSlice whole = engine::ShardSlice::whole(architecture);
    const engine::ShardSlice& slice = planned->front().slice;
    is_predicted(units.attention, slice.query_heads, whole.query_heads.count);
    is_predicted(units.feed_forward, slice.feed_forward, whole.feed_forward.count);
    is_predicted(units.vocabulary, slice.vocabulary, whole.vocabulary.count);
}

TEST(ChooseCluster, deals_units_out_as_the_engine_does) {
    std::mt19937 random(5);  // NOLINT: the same ones each time
    std::uniform_real_distribution<double> share(0, 1);
    for (std::uint32_t round = 0; round < 500; ++round) {
        std::vector<double> shares(1 + round % 6);
        for (double& one : shares) one = round % 3 == 0 ? 1.0 : share(random);
        const std::uint32_t unit_count = 1 + round % 40;
        std::vector<double> fractions = placement::in_whole_units(unit_count, shares);
        const auto units = engine::apportion(unit_count, shares);
        for (std::size_t i = 0; i < shares.size(); ++i) {
            EXPECT_NEAR(fractions[i] * unit_count, units[i], 1e-9);
        }
    }
}

TEST(ChooseCluster, knows_what_a_value_takes_on_the_wire) {
    const std::vector<RankCandidate> candidates = {here("cpu"), there("cpu", "10.0.0.2")};
    constexpr LinkFigures slow{.latency_us = 20, .bytes_per_ms = 100'000};
    const auto with = [&](WireType wire) {
        return choose_by_surveys(one_gigabyte(), {},
                                 {{.candidate = 0, .device = device("a cpu", 10)},
                                  {.candidate = 1, .device = device("b cpu", 10), .link = slow}},
                                 candidates, wire);
    };
    EXPECT_GT(with(WireType::q8_0).tokens_per_s, 1.01 * with(WireType::f16).tokens_per_s);
    EXPECT_GT(with(WireType::f16).tokens_per_s, 1.01 * with(WireType::f32).tokens_per_s);
}

TEST(ChooseCluster, counts_the_cache_of_all_slots) {
    engine::EngineOptions options;
    model::Architecture architecture = engine::testing::tiny_architecture("llama");
    architecture.context_length = 4096;
    options.slot_count = 3;
    const auto trained = workload_of(architecture, options);
    ASSERT_TRUE(trained.has_value());
    EXPECT_EQ(trained->cache_positions, 3.0 * 4096);
    EXPECT_EQ(trained->context_length, guessed::context_length);
    EXPECT_GT(trained->compute_bytes, 512.0 * 4096);
    options.context_length = 100;
    const auto asked = workload_of(architecture, options);
    ASSERT_TRUE(asked.has_value());
    EXPECT_EQ(asked->cache_positions, 300);
    EXPECT_EQ(asked->context_length, 100U);
    options.context_length = 5000;
    EXPECT_EQ(workload_of(architecture, options).error().code, ErrorCode::invalid_argument);
}

// What two devices are said to do, and a real worker: the choice can be opened and computes.
TEST(ChooseCluster, chooses_what_can_be_opened) {
    const testing::TemporaryModel model(engine::testing::tiny_architecture("llama"), {});
    const engine::EngineOptions options = testing::play_options(model);
    const auto identity = net::Identity::generate();
    ASSERT_TRUE(identity.has_value());
    ThreadRunnerHost workers;
    ASSERT_TRUE(workers.start(1, identity->peer_id()).has_value());
    const std::vector<RankCandidate> candidates = {
        here("cpu"), {.device = "cpu", .worker = workers.addresses()[0]}};
    const auto workload = workload_of(model.file().architecture, options);
    ASSERT_TRUE(workload.has_value());
    const auto cost = cost_of(model.file(), options.cache_type);
    // Alone it reads for an hour.
    const auto choice =
        choose_by_surveys(cost, *workload,
                          {{.candidate = 0, .device = device("a cpu", 1e-7)},
                           {.candidate = 1, .device = device("b cpu", 1e-7), .link = near}},
                          candidates);
    ASSERT_THAT(choice.ranks, ElementsAre(0, 1)) << placement::choice_text(choice);
    const ChosenRanks ranks = chosen_ranks(choice, candidates);
    const auto opened = open_cluster(model.file(), options,
                                     {.identity = *identity,
                                      .workers = ranks.peers,
                                      .split = ranks.split,
                                      .shares = ranks.shares,
                                      .devices = ranks.devices});
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    EXPECT_EQ(opened->information.device, "cpu + cpu");
    EXPECT_TRUE(testing::play(*opened->shard).has_value());
}

}  // namespace
}  // namespace exomesh::runner
