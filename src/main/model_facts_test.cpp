#include "main/model_facts.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace exomesh::main {
namespace {

TEST(ModelFacts, OfARealFile) {
    const char* path = std::getenv("EXOMESH_TEST_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "set EXOMESH_TEST_MODEL_SMOLLM2 (./dev test does)";
    const auto facts = read_model_facts(path);
    ASSERT_TRUE(facts) << facts.error().text();
    EXPECT_EQ(facts->file_bytes, 98'362'432U);
    EXPECT_EQ(facts->parameter_count, 134'515'008U);
    EXPECT_EQ(facts->quantization, "Q4_1");
    EXPECT_EQ(facts->type, "llama 134.52 M Q4_1");
    EXPECT_EQ(facts->architecture.layer_count, 30U);
    EXPECT_TRUE(facts->has_chat_template);
}

TEST(ModelFacts, ErrorsComeFromTheReaders) {
    EXPECT_EQ(read_model_facts("/nonexistent.gguf").error().code, ErrorCode::not_found);
    EXPECT_EQ(read_model_facts("/dev/null").error().code, ErrorCode::invalid_argument);
}

TEST(ModelFacts, Units) {
    EXPECT_EQ(bytes_text(17), "17 B");
    EXPECT_EQ(bytes_text(98'362'432), "93.81 MiB");
    EXPECT_EQ(bytes_text(3ULL << 30), "3.00 GiB");
    EXPECT_EQ(count_text(134'515'008), "134.52 M");
    EXPECT_EQ(count_text(1'240'000'000), "1.24 B");
}

}  // namespace
}  // namespace exomesh::main
