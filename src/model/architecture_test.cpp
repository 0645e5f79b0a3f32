#include "model/architecture.h"

#include <gtest/gtest.h>

#include "model/testing/tiny_model.h"

namespace exomesh::model {
namespace {

using testing::TinyModel;

class EveryFamily : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryFamily, IsReadFromATinyModel) {
    const auto gguf = Gguf::parse(testing::tiny_model({.family = GetParam()}).bytes());
    ASSERT_TRUE(gguf) << gguf.error().text();
    const auto architecture = read_architecture(*gguf);
    ASSERT_TRUE(architecture) << architecture.error().text();
    EXPECT_EQ(architecture->family, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Families, EveryFamily,
                         ::testing::Values("llama", "qwen2", "qwen3", "qwen3moe", "gemma3",
                                           "phi3"));

}  // namespace
}  // namespace exomesh::model
