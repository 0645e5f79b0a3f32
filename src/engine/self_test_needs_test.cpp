#include "engine/self_test_needs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "device/self_tester.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine {
namespace {

using ::testing::IsSubsetOf;
using ::testing::UnorderedElementsAre;

std::vector<std::string> groups_of(std::string_view family, CacheType cache_type) {
    const auto path = std::filesystem::temp_directory_path() /
                      ("exomesh_needs_" + std::to_string(::getpid()) + ".gguf");
    auto architecture = testing::tiny_architecture(family);
    EXPECT_TRUE(testing::write_synthetic_model(architecture,
                                               {.weight_type = model::TensorType::q4_k}, path));
    const auto file = ModelFile::open(path);
    std::filesystem::remove(path);
    EXPECT_TRUE(file);
    return self_test_groups_for(**file, cache_type);
}

TEST(SelfTestNeeds, AreTheTypesOfTheModelAlone) {
    const auto groups = groups_of("llama", CacheType::f16);
    EXPECT_THAT(groups, UnorderedElementsAre("operations", "cache of f16", "products of q4_K"));
    EXPECT_THAT(groups, IsSubsetOf(device::self_test_groups()));
}

TEST(SelfTestNeeds, OfExpertsAreExpertProductsToo) {
    const auto groups = groups_of("qwen3moe", CacheType::q8_0);
    EXPECT_THAT(groups, UnorderedElementsAre("operations", "cache of q8_0", "products of f32",
                                             "products of q4_K", "expert products of q4_K"));
    EXPECT_THAT(groups, IsSubsetOf(device::self_test_groups()));
}

}  // namespace
}  // namespace exomesh::engine
