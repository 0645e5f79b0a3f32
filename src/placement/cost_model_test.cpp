#include "placement/cost_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "model/testing/tiny_model.h"

namespace exomesh::placement {
namespace {

constexpr std::uint32_t layers = 22;
constexpr double attention_bytes = 5e6, feed_forward_bytes = 20e6, output_bytes = 36e6;

ModelCost llama_like() {
    const auto part = [](double bytes) {
        return PartCost{.size_bytes = bytes, .read_bytes = bytes, .weights_read = 2 * bytes};
    };
    return {.attention = std::vector(layers, part(attention_bytes)),
            .feed_forward = std::vector(layers, part(feed_forward_bytes)),
            .output = part(output_bytes),
            .embedding_bytes = output_bytes,
            .embedding_length = 2048};
}

constexpr double model_bytes = layers * (attention_bytes + feed_forward_bytes) + output_bytes;

DeviceFigures device() {
    return {.read_bytes_per_s = 20e9, .flops_per_s = 1e11};
}

LinkFigures link(double latency_us) {
    return {.latency_us = latency_us, .bytes_per_s = 1e15};
}

double decode_us(std::uint32_t stages, std::uint32_t ranks_per_stage, double latency_us,
                 const DeviceFigures& figures = device()) {
    const ModelCost model = llama_like();
    const Split split = equal_split(model, stages, ranks_per_stage);
    const Cluster cluster = Cluster::uniform(split.ranks.size(), figures, link(latency_us));
    return predict(model, split, cluster, {}).decode_us;
}

constexpr double alone_us = model_bytes / 20e9 * 1e6;

TEST(CostModel, OneDeviceReadsEachWeightOnce) {
    EXPECT_NEAR(decode_us(1, 1, 0), alone_us, 0.01);
    EXPECT_NEAR(decode_us(1, 1, 5000), alone_us, 0.01) << "no message, no latency";
    DeviceFigures slow = device();
    slow.step_us = 100;
    slow.part_us = 3;
    EXPECT_NEAR(decode_us(1, 1, 0, slow), alone_us + 100 + 2 * layers * 3, 0.01);
}

TEST(CostModel, ATensorGroupDividesTheWeightsAndWaitsAtEachSum) {
    EXPECT_NEAR(decode_us(1, 2, 0), alone_us / 2, 0.5);
    EXPECT_NEAR(decode_us(1, 2, 300) - decode_us(1, 2, 0), (2 * layers + 2) * 300, 0.01);
    EXPECT_NEAR(decode_us(1, 4, 300) - decode_us(1, 4, 0), (2 * layers + 2) * 300, 0.01);
}

TEST(CostModel, FixedCostsAreNotDivided) {
    DeviceFigures slow = device();
    slow.part_us = 10;
    EXPECT_NEAR(decode_us(1, 4, 0, slow) - decode_us(1, 4, 0), 2 * layers * 10, 0.01);
}

TEST(CostModel, APipelineOfEqualsTakesAsLongAsOneAndItsMessages) {
    EXPECT_NEAR(decode_us(2, 1, 0), alone_us, 0.5);
    EXPECT_NEAR(decode_us(2, 1, 300) - decode_us(2, 1, 0), 2 * 300, 0.01);
    EXPECT_NEAR(decode_us(3, 1, 300) - decode_us(3, 1, 0), 3 * 300, 0.01);
}

TEST(CostModel, AHybridWaitsForBoth) {
    EXPECT_NEAR(decode_us(2, 2, 0), alone_us / 2, 0.5);
    EXPECT_NEAR(decode_us(2, 2, 300) - decode_us(2, 2, 0), (2 * layers + 2) * 300, 0.01);
}

TEST(CostModel, TheSlowestRankOfAPartDecides) {
    const ModelCost model = llama_like();
    const Split split = equal_split(model, 1, 2);
    Cluster cluster = Cluster::uniform(2, device(), link(0));
    cluster.devices[1].read_bytes_per_s /= 3;
    EXPECT_NEAR(predict(model, split, cluster, {}).decode_us, 3 * alone_us / 2, 0.5);
    Split uneven = split;
    for (const std::size_t rank : {0, 1}) {
        RankShare& share = uneven.ranks[rank];
        share.attention = share.feed_forward = share.vocabulary = rank == 0 ? 0.75 : 0.25;
    }
    EXPECT_NEAR(predict(model, uneven, cluster, {}).decode_us, 0.75 * alone_us, 0.5);
}

TEST(CostModel, SleepersPayForBeingWoken) {
    DeviceFigures sleeper = device();
    sleeper.wake_us = 50;
    EXPECT_NEAR(decode_us(1, 2, 10, sleeper), decode_us(1, 2, 10), 0.01) << "waits of 20 us spin";
    EXPECT_GT(decode_us(1, 2, 300, sleeper), decode_us(1, 2, 300) + layers * 50);
}

TEST(CostModel, CountsTheBytesOfEachLink) {
    const ModelCost model = llama_like();
    const Split split = equal_split(model, 1, 2);
    const auto found = predict(model, split, Cluster::uniform(2, device(), link(0)), {});
    const double sums = 2.0 * layers * 2048 * 34 / 32;
    EXPECT_NEAR(found.decode_link_bytes[1], sums, 100);       // and the step
    EXPECT_NEAR(found.decode_link_bytes[2], sums + 320, 10);  // and the candidates
    EXPECT_NEAR(found.prefill_link_bytes[1], 512 * sums, 512 * 4 + 100);
    EXPECT_NEAR(found.rank_bytes[0], model_bytes / 2 + output_bytes, 1);  // and the embedding
}

TEST(CostModel, SetsAsideCacheByTheShareAndBuffersForEachRank) {
    ModelCost model = llama_like();
    for (PartCost& part : model.attention) part.position_bytes = 1024;
    const auto reserved = [&](std::uint32_t stages, std::uint32_t ranks) {
        return predict(model, equal_split(model, stages, ranks),
                       Cluster::uniform(std::size_t{stages} * ranks, device(), link(0)),
                       {.cache_positions = 1000, .compute_bytes = 5e6})
            .reserved_bytes;
    };
    const double cache = 1000.0 * 1024 * layers;
    EXPECT_NEAR(reserved(1, 1)[0], cache + 5e6, 1);
    for (const double bytes : reserved(1, 4)) EXPECT_NEAR(bytes, cache / 4 + 5e6, 1);
    for (const double bytes : reserved(2, 2)) EXPECT_NEAR(bytes, cache / 4 + 5e6, 1);
}

TEST(CostModel, BandwidthCountsForEachReceiver) {
    const ModelCost model = llama_like();
    const auto at = [&](std::uint32_t ranks, double bytes_per_s) {
        LinkFigures figures = link(0);
        figures.bytes_per_s = bytes_per_s;
        Split split = equal_split(model, 1, ranks);
        split.output_bytes = 0;
        return predict(model, split, Cluster::uniform(ranks, device(), figures), {}).decode_us;
    };
    const double sum_us = 2048.0 * 34 / 32 / 12.5;  // at 100 Mbit/s
    EXPECT_NEAR(at(2, 12.5e6) - at(2, 1e15), 2 * layers * sum_us, 10);
    EXPECT_NEAR(at(3, 12.5e6) - at(3, 1e15), 2 * layers * 2 * sum_us, 20);
}

TEST(CostModel, PipelinesOverlapTheChunksOfAPrompt) {
    const ModelCost model = llama_like();
    const auto prefill_us = [&](std::uint32_t stages) {
        Split split = equal_split(model, stages, 1);
        split.chunk_length = 64;
        return predict(model, split, Cluster::uniform(stages, device(), link(0)), {0, 1024})
            .prefill_us;
    };
    // 16 chunks through two stages take 17 half steps, not 32.
    EXPECT_NEAR(prefill_us(2) / prefill_us(1), 17.0 / 32, 0.02);
}

TEST(CostModel, BreakEven) {
    const ModelCost model = llama_like();
    const Split alone = equal_split(model, 1, 1), tensor = equal_split(model, 1, 2);
    const Cluster one = Cluster::uniform(1, device(), link(0));
    const Cluster two = Cluster::uniform(2, device(), link(0));
    const auto found = break_even_latency_us(model, tensor, two, alone, one, {});
    ASSERT_TRUE(found);
    EXPECT_NEAR(*found, alone_us / 2 / (2 * layers + 2), 1);
    EXPECT_FALSE(break_even_latency_us(model, alone, one, tensor, two, {}));
    EXPECT_FALSE(break_even_latency_us(model, tensor, two, alone, one, {}, 10));
}

TEST(ModelCost, CountsWhatATokenReads) {
    const model::testing::TinyModel tiny{.family = "qwen3moe", .expert_count = 8};
    const auto bytes = model::testing::tiny_model(tiny).bytes();
    const auto gguf = model::Gguf::parse(bytes);
    ASSERT_TRUE(gguf);
    const ModelCost cost = model_cost(*gguf, model::testing::tiny_architecture(tiny));
    ASSERT_EQ(cost.attention.size(), tiny.layer_count);
    const double expert = 3.0 * tiny.embedding_length * tiny.feed_forward_length;
    const double router = 8.0 * tiny.embedding_length;
    EXPECT_DOUBLE_EQ(cost.feed_forward[1].weights_read, 2 * expert + router);
    EXPECT_DOUBLE_EQ(cost.feed_forward[1].read_bytes, 4 * (2 * expert + router));
    EXPECT_DOUBLE_EQ(cost.feed_forward[1].size_bytes, 4 * (8 * expert + router));
    const double query = 4.0 * 16 * 64, key = 2.0 * 16 * 64;
    EXPECT_DOUBLE_EQ(cost.attention[0].weights_read, 2 * query + 2 * key);
    EXPECT_DOUBLE_EQ(cost.attention[0].position_bytes, 2 * 16 * 2 * 2);
    EXPECT_DOUBLE_EQ(cost.output.weights_read, 64.0 * 96);
    EXPECT_DOUBLE_EQ(cost.embedding_bytes, 4 * 64.0 * 96);
}

// Random clusters of random devices, links and splits.
class RandomCluster {
  public:
    explicit RandomCluster(std::uint64_t seed) : random_(seed) {
        split = equal_split(model, 1 + pick(3), 1 + pick(4));
        const std::size_t count = split.ranks.size();
        for (std::size_t rank = 0; rank < count; ++rank) {
            cluster.devices.push_back({.read_bytes_per_s = between(1e9, 1e12),
                                       .flops_per_s = between(1e10, 1e13),
                                       .step_us = between(0, 500),
                                       .part_us = between(0, 20),
                                       .value_us = between(0, 1e-3)});
        }
        for (std::size_t i = 0; i < count * count; ++i) {
            cluster.links.push_back({.latency_us = between(0, 3000),
                                     .bytes_per_s = between(1e6, 1e10),
                                     .message_us = between(0, 30)});
        }
    }

    double between(double low, double high) {
        return std::uniform_real_distribution(low, high)(random_);
    }
    std::uint32_t pick(std::uint32_t count) {
        return std::uniform_int_distribution<std::uint32_t>(0, count - 1)(random_);
    }
    [[nodiscard]] Prediction predicted() const {
        return predict(model, split, cluster, {100, 700});
    }

    ModelCost model = llama_like();
    Split split;
    Cluster cluster;

  private:
    std::mt19937_64 random_;
};

class CostModelProperty : public testing::TestWithParam<int> {};

TEST_P(CostModelProperty, IsNeverBetterThanAllReadRatesTogether) {
    const RandomCluster random(static_cast<std::uint64_t>(GetParam()));
    double rate = 0;
    for (const DeviceFigures& figures : random.cluster.devices) rate += figures.read_bytes_per_s;
    EXPECT_GE(random.predicted().decode_us, model_bytes / rate * 1e6);
}

TEST_P(CostModelProperty, WorseFiguresNeverHelp) {
    RandomCluster random(static_cast<std::uint64_t>(GetParam()));
    Prediction before = random.predicted();
    const auto expect_no_better = [&](const char* what) {
        const Prediction after = random.predicted();
        EXPECT_GE(after.decode_us, before.decode_us) << what;
        EXPECT_GE(after.prefill_us, before.prefill_us) << what;
        before = after;
    };
    const auto link_index = random.pick(static_cast<std::uint32_t>(random.cluster.links.size()));
    const auto rank = random.pick(static_cast<std::uint32_t>(random.cluster.devices.size()));
    random.cluster.links[link_index].latency_us += random.between(0, 1000);
    expect_no_better("latency");
    random.cluster.links[link_index].bytes_per_s *= random.between(0.1, 1);
    expect_no_better("bandwidth");
    random.cluster.links[link_index].message_us += 5;
    expect_no_better("message");
    random.cluster.devices[rank].read_bytes_per_s *= random.between(0.1, 1);
    random.cluster.devices[rank].flops_per_s *= random.between(0.1, 1);
    expect_no_better("device");
    random.model.feed_forward[random.pick(layers)].read_bytes += 1e6;
    expect_no_better("weights");
    random.split.bytes_per_value *= 2;
    expect_no_better("wire");
}

TEST_P(CostModelProperty, EqualRanksMayBeExchanged) {
    RandomCluster random(static_cast<std::uint64_t>(GetParam()));
    const DeviceFigures figures = random.cluster.devices[0];
    const LinkFigures between = random.cluster.links[0];
    random.cluster = Cluster::uniform(random.split.ranks.size(), figures, between);
    const Prediction found = random.predicted();
    for (std::size_t i = 0; i < random.split.ranks.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (random.split.ranks[i].stage != random.split.ranks[j].stage) continue;
            EXPECT_DOUBLE_EQ(found.rank_bytes[i], found.rank_bytes[j]);
        }
    }
    std::ranges::reverse(random.cluster.devices);
    EXPECT_EQ(random.predicted().decode_us, found.decode_us);
    const double held = std::accumulate(found.rank_bytes.begin(), found.rank_bytes.end(), 0.0);
    const auto firsts = std::ranges::count(random.split.ranks, 0U, &RankShare::stage);
    EXPECT_NEAR(held, model_bytes + static_cast<double>(firsts) * output_bytes, 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, CostModelProperty, testing::Range(0, 200));

}  // namespace
}  // namespace exomesh::placement
