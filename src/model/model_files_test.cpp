// Real model files, as `./dev test` fetches them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::model {
namespace {

std::vector<std::byte> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<std::byte> bytes(file ? static_cast<std::size_t>(file.tellg()) : 0);
    file.seekg(0);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

TEST(ModelFiles, SmolLm2IsALlama) {
    const char* path = std::getenv("EXOMESH_TEST_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "EXOMESH_TEST_MODEL_SMOLLM2 is not set";
    const auto gguf = Gguf::parse(read_file(path));
    ASSERT_TRUE(gguf) << gguf.error().text();
    const auto architecture = read_architecture(*gguf);
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->family, "llama");
    EXPECT_EQ(architecture->layer_count, 30U);
    EXPECT_EQ(architecture->embedding_length, 576U);
    EXPECT_EQ(architecture->feed_forward_length, 1536U);
    EXPECT_EQ(architecture->head_count, 9U);
    EXPECT_EQ(architecture->key_value_head_count, 3U);
    EXPECT_EQ(architecture->key_length, 64U);
    EXPECT_EQ(architecture->vocabulary_size, 49152U);
    EXPECT_EQ(architecture->context_length, 8192U);
    EXPECT_EQ(architecture->rope.kind, RopeKind::adjacent);
    EXPECT_EQ(architecture->rope.frequency_base, 100000.0);
    EXPECT_EQ(architecture->rope.scaling, RopeScalingKind::none);
    EXPECT_TRUE(architecture->tied_output);
    EXPECT_DOUBLE_EQ(architecture->attention_scale, 0.125);
    EXPECT_EQ(gguf->tensors().size(), 2U + 30U * 9U);
}

TEST(ModelFiles, Gemma3HasItsSlidingLayersAndNorms) {
    const char* path = std::getenv("EXOMESH_TEST_MODEL_GEMMA3");
    if (path == nullptr) GTEST_SKIP() << "EXOMESH_TEST_MODEL_GEMMA3 is not set";
    const auto gguf = Gguf::parse(read_file(path));
    ASSERT_TRUE(gguf) << gguf.error().text();
    const auto architecture = read_architecture(*gguf);
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->family, "gemma3");
    EXPECT_EQ(architecture->layer_count, 18U);
    EXPECT_EQ(architecture->embedding_length, 640U);
    EXPECT_EQ(architecture->head_count, 4U);
    EXPECT_EQ(architecture->key_value_head_count, 1U);
    EXPECT_EQ(architecture->key_length, 256U);
    EXPECT_EQ(architecture->vocabulary_size, 262144U);
    EXPECT_EQ(architecture->sliding_window, 512U);
    EXPECT_EQ(architecture->rope.frequency_base, 1000000.0);
    EXPECT_EQ(architecture->rope.frequency_base_sliding, 10000.0);
    EXPECT_DOUBLE_EQ(architecture->embedding_scale, std::sqrt(640.0));
    EXPECT_DOUBLE_EQ(architecture->attention_scale, 1.0 / 16.0);
    EXPECT_EQ(architecture->activation, Activation::gelu);
    for (std::uint32_t layer = 0; layer < 18; ++layer) {
        EXPECT_EQ(architecture->layer_is_sliding[layer], layer % 6 != 5) << layer;
    }
}

TEST(ModelFiles, TruncatedOnesAreRefused) {
    const char* path = std::getenv("EXOMESH_TEST_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "EXOMESH_TEST_MODEL_SMOLLM2 is not set";
    const std::vector<std::byte> bytes = read_file(path);
    for (const std::size_t size : {bytes.size() - 1, bytes.size() / 2, std::size_t{4096}}) {
        const auto gguf = Gguf::parse(std::span(bytes).first(size));
        ASSERT_FALSE(gguf);
        EXPECT_EQ(gguf.error().code, ErrorCode::corrupt_data);
        EXPECT_NE(gguf.error().message.find("truncated"), std::string::npos) << size;
    }
}

}  // namespace
}  // namespace exomesh::model
