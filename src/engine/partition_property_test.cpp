// Models of random shapes, cut in random ways: every slice can be checked and planned for, and all
// slices together hold every weight that is cut exactly once.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <format>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/model_file.h"
#include "engine/partition.h"
#include "engine/testing/synthetic_model.h"
#include "engine/weight_plan.h"

namespace exomesh::engine {
namespace {

using model::TensorType;

class RandomModels : public ::testing::TestWithParam<const char*> {
  protected:
    std::uint32_t below(std::uint32_t end) { return static_cast<std::uint32_t>(random_()) % end; }
    template <typename T>
    T one_of(const std::vector<T>& values) {
        return values[below(static_cast<std::uint32_t>(values.size()))];
    }

    model::Architecture random_architecture() {
        model::Architecture shape = testing::tiny_architecture(GetParam());
        shape.layer_count = 1 + below(4);
        shape.layer_is_sliding.resize(shape.layer_count, false);
        shape.key_value_head_count = 1 + below(5);
        shape.head_count = shape.key_value_head_count * (1 + below(4));
        shape.key_length = shape.value_length = one_of<std::uint32_t>({32, 64, 96, 128});
        shape.rope.dimension_count = shape.key_length;
        shape.attention_scale = 1.0 / std::sqrt(static_cast<double>(shape.key_length));
        const std::uint32_t columns = one_of<std::uint32_t>({32, 64, 256}) * (1 + below(7));
        shape.feed_forward_length = columns;
        if (shape.experts) shape.experts->feed_forward_length = columns;
        shape.vocabulary_size = testing::synthetic_vocabulary_size_min + below(100);
        return shape;
    }

    void write(const model::Architecture& shape, TensorType type) {
        const std::string path = ::testing::TempDir() + std::to_string(::getpid()) + "_" +
                                 GetParam() + "_partition.gguf";
        const auto written = testing::write_synthetic_model(shape, {.weight_type = type}, path);
        ASSERT_TRUE(written.has_value()) << written.error().text();
        auto opened = ModelFile::open(path);
        std::filesystem::remove(path);  // the mapping keeps the bytes
        ASSERT_TRUE(opened.has_value()) << opened.error().text();
        file_ = *std::move(opened);
    }

    std::vector<double> random_shares(std::uint32_t count) {
        std::vector<double> shares(count);
        for (double& share : shares) share = below(4) == 0 ? 0.0 : 0.01 + below(100) / 10.0;
        shares[below(count)] += 1.0;
        return shares;
    }

    // Elements of each of the file's tensors that the slices hold.
    void count_elements(const ShardSlice& slice) {
        const auto plan =
            plan_weights(file_->gguf, file_->architecture, slice, [](TensorType) { return true; });
        ASSERT_TRUE(plan.has_value()) << plan.error().text();
        for (const WeightSpec& weight : plan->weights) {
            for (const WeightPart& part : weight.parts) {
                held_[part.source->name] +=
                    std::uint64_t{part.rows.count} * part.columns.count * weight.matrix_count;
            }
        }
    }

    std::mt19937 random_{7};
    std::unique_ptr<const ModelFile> file_;
    std::map<std::string, std::uint64_t> held_;
};

bool is_cut(const std::string& name, const Alignment& alignment) {
    const auto has = [&](const char* part) { return name.contains(part); };
    const bool is_key_or_value = has("attn_k.") || has("attn_v.") || has("attn_qkv.");
    if (is_key_or_value) return !alignment.replicates_key_value_head;
    return has("attn_q.") || has("attn_output.weight") ||
           (has("ffn_") && !has("norm") && !has("gate_inp"));
}

TEST_P(RandomModels, every_slice_can_be_loaded_and_all_are_the_model) {
    for (int round = 0; round < 4; ++round) {
        const TensorType type =
            one_of<TensorType>({TensorType::f16, TensorType::q8_0, TensorType::q4_0,
                                TensorType::q4_k, TensorType::q6_k});
        write(random_architecture(), type);
        const model::Architecture& shape = file_->architecture;
        SCOPED_TRACE(std::format("round {}: {} of {} heads, {} long, {} columns, type {}", round,
                                 shape.key_value_head_count, shape.head_count, shape.key_length,
                                 ShardSlice::whole(shape).feed_forward.count,
                                 model::tensor_type_traits(type).name));
        const Alignment alignment = alignment_of(file_->gguf, shape);
        held_.clear();
        const std::uint32_t stage_count = 1 + below(shape.layer_count);
        const auto stages = split_layers(shape.layer_count, std::vector<double>(stage_count, 1.0));
        ASSERT_TRUE(stages.has_value());
        for (const Range& layers : *stages) {
            const auto slices = split_tensor(alignment, shape, layers, random_shares(1 + below(7)));
            ASSERT_TRUE(slices.has_value()) << slices.error().text();
            for (const ShardSlice& slice : *slices) {
                const auto checked = check_slice(alignment, shape, slice);
                ASSERT_TRUE(checked.has_value()) << checked.error().message;
                count_elements(slice);
            }
        }
        for (const model::TensorInfo& tensor : file_->gguf.tensors()) {
            const auto held = held_[tensor.name];
            if (is_cut(tensor.name, alignment)) {
                EXPECT_EQ(held, tensor.element_count()) << tensor.name;
            } else {
                EXPECT_GE(held, tensor.element_count()) << tensor.name;
            }
        }
    }
}

TEST_P(RandomModels, a_slice_that_is_moved_or_widened_is_refused) {
    for (int round = 0; round < 4; ++round) {
        write(random_architecture(), TensorType::q4_0);
        const model::Architecture& shape = file_->architecture;
        const Alignment alignment = alignment_of(file_->gguf, shape);
        const auto slices =
            split_tensor(alignment, shape, {0, shape.layer_count}, std::vector<double>{1.0, 1.0});
        ASSERT_TRUE(slices.has_value());
        const ShardSlice whole = ShardSlice::whole(shape);
        const auto refuses = [&](auto change) {
            ShardSlice slice = slices->front();
            change(slice);
            return !check_slice(alignment, shape, slice).has_value();
        };
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.query_heads.count = 1000; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.key_value_heads.first += 1; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.feed_forward.first += 1; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) {
            slice.feed_forward = {0, whole.feed_forward.count + alignment.feed_forward_unit};
        }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.vocabulary.count = 1U << 30; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.layers.count += 1; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.embeds = false; }));
        EXPECT_TRUE(refuses([&](ShardSlice& slice) { slice.heads = !slice.heads; }));
    }
}

INSTANTIATE_TEST_SUITE_P(Families, RandomModels,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace exomesh::engine
