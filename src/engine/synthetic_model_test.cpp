#include "engine/testing/synthetic_model.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "platform/mapped_file.h"

namespace exomesh::engine::testing {
namespace {

using model::Architecture;
using model::TensorType;

class SyntheticModel : public ::testing::TestWithParam<const char*> {
  protected:
    // Writes a model and returns its bytes.
    platform::MappedFile write(const Architecture& architecture, const SyntheticOptions& options) {
        const std::string path = ::testing::TempDir() + std::to_string(::getpid()) + "_synthetic_" +
                                 GetParam() + ".gguf";
        EXPECT_TRUE(write_synthetic_model(architecture, options, path).has_value());
        auto file = platform::MappedFile::open(path);
        EXPECT_TRUE(file.has_value());
        std::filesystem::remove(path);  // the mapping keeps the bytes
        return std::move(*file);
    }
};

TEST_P(SyntheticModel, is_read_back_as_it_was_described) {
    Architecture wanted = tiny_architecture(GetParam());
    wanted.rope.scaling = model::RopeScalingKind::linear;
    wanted.rope.scaling_factor = 4.0;
    const auto file = write(wanted, {.weight_type = TensorType::q4_0, .has_biases = true});
    const auto gguf = model::Gguf::parse(file.bytes());
    ASSERT_TRUE(gguf.has_value()) << gguf.error().text();
    const auto read = model::read_architecture(*gguf);
    ASSERT_TRUE(read.has_value()) << read.error().text();
    EXPECT_EQ(read->family, wanted.family);
    EXPECT_EQ(read->layer_count, wanted.layer_count);
    EXPECT_EQ(read->head_count, wanted.head_count);
    EXPECT_EQ(read->key_value_head_count, wanted.key_value_head_count);
    EXPECT_EQ(read->key_length, wanted.key_length);
    EXPECT_EQ(read->vocabulary_size, wanted.vocabulary_size);
    EXPECT_EQ(read->attention_scale, wanted.attention_scale);
    EXPECT_EQ(read->embedding_scale, wanted.embedding_scale);
    EXPECT_EQ(read->activation, wanted.activation);
    EXPECT_EQ(read->sliding_window, wanted.sliding_window);
    EXPECT_EQ(read->layer_is_sliding, wanted.layer_is_sliding);
    EXPECT_EQ(read->query_key_norm, wanted.query_key_norm);
    EXPECT_EQ(read->post_norms, wanted.post_norms);
    EXPECT_EQ(read->scales_query, wanted.scales_query);
    EXPECT_EQ(read->tied_output, wanted.tied_output);
    EXPECT_EQ(read->fused_query_key_value, wanted.fused_query_key_value);
    EXPECT_EQ(read->fused_gate_up, wanted.fused_gate_up);
    EXPECT_EQ(read->experts.has_value(), wanted.experts.has_value());
    EXPECT_EQ(read->rope.kind, wanted.rope.kind);
    EXPECT_EQ(read->rope.frequency_base, wanted.rope.frequency_base);
    EXPECT_EQ(read->rope.scaling, wanted.rope.scaling);
    EXPECT_EQ(read->rope.scaling_factor, wanted.rope.scaling_factor);
}

TEST_P(SyntheticModel, has_a_vocabulary_that_gives_text_back) {
    const auto file = write(tiny_architecture(GetParam()), {.weight_type = TensorType::q8_0});
    const auto tokenizer = model::Tokenizer::create(model::Gguf::parse(file.bytes()).value());
    ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().text();
    const std::string text = "the quick brown fox, 42 \xE2\x82\xAC \n\t{}";
    const auto tokens =
        tokenizer->encode(text, model::SpecialTokens::as_text, model::SequenceStart::none);
    EXPECT_EQ(tokenizer->decode(tokens), text);
    EXPECT_EQ(tokenizer->vocabulary_size(), synthetic_vocabulary_size_min);
    EXPECT_TRUE(tokenizer->ends_generation(tokenizer->end_of_sequence()));
}

TEST_P(SyntheticModel, does_not_depend_on_threads_but_on_the_seed) {
    const Architecture architecture = tiny_architecture(GetParam());
    const auto bytes = [&](std::uint64_t seed, std::uint32_t thread_count) {
        const auto file =
            write(architecture,
                  {.weight_type = TensorType::q4_0, .seed = seed, .thread_count = thread_count});
        return std::vector<std::byte>(file.bytes().begin(), file.bytes().end());
    };
    const auto first = bytes(1, 1);
    EXPECT_TRUE(first == bytes(1, 3));
    EXPECT_FALSE(first == bytes(2, 1));
}

INSTANTIATE_TEST_SUITE_P(Families, SyntheticModel,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace exomesh::engine::testing
