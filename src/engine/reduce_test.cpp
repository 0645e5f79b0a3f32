// Sums over ranks inside the graph and between its parts are the same.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/shard.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine {
namespace {

// Stands for the other rank of two that hold the same slice: the sum is twice this rank's part.
class TwinReducer final : public Reducer {
  public:
    void reduce(float* values, std::int64_t row_length, std::int64_t row_count) override {
        const std::span part(values, static_cast<std::size_t>(row_length * row_count));
        std::ranges::transform(part, part.begin(), [](float value) { return 2 * value; });
        ++count;
    }
    std::size_t count = 0;
};

std::vector<float> logits_of(const ModelFile& model, const ShardSlice& slice, ReduceAt reduce_at,
                             Reducer& reducer) {
    auto device = device::DeviceRegistry::instance().cpu();
    EXPECT_TRUE(device.has_value());
    ShardOptions options;
    options.device = *device;
    options.thread_count = 2;
    options.slot_count = 2;
    options.context_length = 256;
    options.reducer = &reducer;
    options.reduce_at = reduce_at;
    const auto shard = Shard::create(model, slice, options);
    EXPECT_TRUE(shard.has_value()) << shard.error().text();
    const std::vector<model::TokenId> prompt = {1, 2, 3, 4, 5};
    const std::vector<model::TokenId> next = {6};
    std::vector<float> all;
    for (const SlotTokens& batch :
         {SlotTokens{.slot = 0, .first_position = 0, .tokens = prompt},
          SlotTokens{.slot = 1, .first_position = 0, .tokens = prompt, .outputs = OutputRows::none},
          SlotTokens{.slot = 0, .first_position = 5, .tokens = next},
          SlotTokens{.slot = 1, .first_position = 5, .tokens = next}}) {
        const auto logits = (*shard)->compute({&batch, 1});
        EXPECT_TRUE(logits.has_value()) << logits.error().text();
        all.insert(all.end(), logits->begin(), logits->end());
    }
    return all;
}

TEST(Reduce, gives_the_same_inside_the_graph_and_between_its_parts) {
    for (const char* family : {"llama", "qwen3", "gemma3", "qwen3moe"}) {
        const std::string path = ::testing::TempDir() + std::to_string(::getpid()) + "_reduce.gguf";
        const model::Architecture architecture = testing::tiny_architecture(family);
        ASSERT_TRUE(testing::write_synthetic_model(architecture,
                                                   {.weight_type = model::TensorType::q4_0}, path));
        const auto model = ModelFile::open(path);
        std::filesystem::remove(path);
        ASSERT_TRUE(model.has_value()) << model.error().text();
        const ShardSlice slice = ShardSlice::whole((*model)->architecture);
        TwinReducer in_graph;
        TwinReducer between;
        const auto expected = logits_of(**model, slice, ReduceAt::node, in_graph);
        const auto found = logits_of(**model, slice, ReduceAt::cut, between);
        EXPECT_EQ(found, expected) << family;
        EXPECT_EQ(between.count, in_graph.count) << family;
        // Two sums a layer and step; the step without output owes none in its last layer.
        EXPECT_EQ(in_graph.count, 4 * 2 * slice.layers.count - 2) << family;
    }
}

}  // namespace
}  // namespace exomesh::engine
