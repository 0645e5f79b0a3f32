// Sums over ranks inside the graph and between its parts are the same.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/micro_batch.h"
#include "engine/shard.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine {
namespace {

// Stands for the other rank of two that hold the same slice: the sum is twice this rank's part.
class TwinReducer final : public Reducer {
  public:
    void start(float* values, std::int64_t row_length, std::int64_t row_count) override {
        EXPECT_TRUE(part_.empty()) << "one sum at a time";
        part_ = {values, static_cast<std::size_t>(row_length * row_count)};
    }
    void finish() override {
        std::ranges::transform(part_, part_.begin(), [](float value) { return 2 * value; });
        part_ = {};
        ++count;
    }
    std::size_t count = 0;

  private:
    std::span<float> part_;
};

enum class Overlap { none, halves };

std::unique_ptr<Shard> make_shard(const ModelFile& model, ReduceAt reduce_at, Overlap overlap,
                                  Reducer& reducer) {
    auto device = device::DeviceRegistry::instance().cpu();
    EXPECT_TRUE(device.has_value());
    ShardOptions options;
    options.device = *device;
    options.thread_count = 2;
    options.slot_count = 3;
    options.context_length = 512;
    options.reducer = &reducer;
    options.reduce_at = reduce_at;
    options.overlap_tokens_min = overlap == Overlap::halves ? micro_batch_tokens_min : 0;
    auto shard = Shard::create(model, ShardSlice::whole(model.architecture), options);
    EXPECT_TRUE(shard.has_value()) << shard.error().text();
    return *std::move(shard);
}

void append_logits(Shard& shard, std::span<const SlotTokens> batch, std::vector<float>& all) {
    const auto logits = shard.compute(batch);
    ASSERT_TRUE(logits.has_value()) << logits.error().text();
    all.insert(all.end(), logits->begin(), logits->end());
}

std::unique_ptr<const ModelFile> make_model(const char* family) {
    const std::string path = ::testing::TempDir() + std::to_string(::getpid()) + "_reduce.gguf";
    EXPECT_TRUE(testing::write_synthetic_model(testing::tiny_architecture(family),
                                               {.weight_type = model::TensorType::q4_0}, path));
    auto model = ModelFile::open(path);
    std::filesystem::remove(path);
    EXPECT_TRUE(model.has_value()) << model.error().text();
    return *std::move(model);
}

constexpr const char* families[] = {"llama", "qwen3", "gemma3", "qwen3moe"};

TEST(Reduce, gives_the_same_inside_the_graph_and_between_its_parts) {
    const std::vector<model::TokenId> prompt = {1, 2, 3, 4, 5};
    const std::vector<model::TokenId> next = {6};
    for (const char* family : families) {
        const auto model = make_model(family);
        std::vector<float> outputs[2];
        std::size_t counts[2];
        for (const ReduceAt reduce_at : {ReduceAt::node, ReduceAt::cut}) {
            TwinReducer reducer;
            const auto shard = make_shard(*model, reduce_at, Overlap::none, reducer);
            const auto index = static_cast<std::size_t>(reduce_at);
            for (const SlotTokens& batch :
                 {SlotTokens{.slot = 0, .first_position = 0, .tokens = prompt},
                  SlotTokens{.slot = 1,
                             .first_position = 0,
                             .tokens = prompt,
                             .outputs = OutputRows::none},
                  SlotTokens{.slot = 0, .first_position = 5, .tokens = next},
                  SlotTokens{.slot = 1, .first_position = 5, .tokens = next}}) {
                append_logits(*shard, {&batch, 1}, outputs[index]);
            }
            counts[index] = reducer.count;
        }
        EXPECT_EQ(outputs[0], outputs[1]) << family;
        // Two sums a layer and step; the step without output owes none in its last layer.
        EXPECT_EQ(counts[0], 4 * 2 * model->architecture.layer_count - 2) << family;
        EXPECT_EQ(counts[1], counts[0]) << family;
    }
}

// Prompts at once and beside decodes, cut within a slot and between slots.
std::vector<float> play_chunks(Shard& shard) {
    std::vector<model::TokenId> tokens(300);
    for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<model::TokenId>(3 + i * 7 % 90);
    const std::span<const model::TokenId> all = tokens;
    std::vector<float> logits;
    const std::vector<std::vector<SlotTokens>> batches = {
        {{.slot = 0, .first_position = 0, .tokens = all.first(130)}},
        {{.slot = 0, .first_position = 130, .tokens = all.subspan(130, 1)},
         {.slot = 1, .first_position = 0, .tokens = all.first(256), .outputs = OutputRows::none}},
        {{.slot = 0, .first_position = 131, .tokens = all.first(70), .outputs = OutputRows::all},
         {.slot = 1, .first_position = 256, .tokens = all.first(1)},
         {.slot = 2, .first_position = 0, .tokens = all.first(60)}},
        {{.slot = 0, .first_position = 201, .tokens = all.first(1)},
         {.slot = 1, .first_position = 257, .tokens = all.first(1)},
         {.slot = 2, .first_position = 60, .tokens = all.first(1)}}};
    for (const auto& batch : batches) append_logits(shard, batch, logits);
    return logits;
}

// The error's share of the whole: 0 where equal, about 2 where unrelated.
double normalized_error(const std::vector<float>& found, const std::vector<float>& expected) {
    EXPECT_EQ(found.size(), expected.size());
    double error = 0;
    double whole = 0;
    for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
        error += std::pow(found[i] - expected[i], 2.0);
        whole += std::pow(expected[i], 2.0);
    }
    return error / whole;
}

// Kernels round differently for other numbers of rows and positions, so not to the bit.
TEST(Reduce, gives_the_same_while_the_other_half_computes) {
    for (const char* family : families) {
        const auto model = make_model(family);
        TwinReducer whole;
        TwinReducer halves;
        const auto expected =
            play_chunks(*make_shard(*model, ReduceAt::node, Overlap::none, whole));
        const auto found =
            play_chunks(*make_shard(*model, ReduceAt::node, Overlap::halves, halves));
        // Three of four batches are cut, and the first halves of two of them have no output.
        const std::size_t layers = model->architecture.layer_count;
        EXPECT_EQ(whole.count, 4 * 2 * layers) << family;
        EXPECT_EQ(halves.count, 7 * 2 * layers - 2 * 2) << family;
        EXPECT_LT(normalized_error(found, expected), 2e-4) << family;
    }
}

}  // namespace
}  // namespace exomesh::engine
