#include "device/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "device/backend_log.h"
#include "device/compute.h"
#include "device/cpu_topology.h"

namespace exomesh::device {
namespace {

TEST(DeviceRegistry, FindsTheCpuWithoutTouchingGpuLibraries) {
    const auto choice = DeviceRegistry::instance().choose("cpu");
    ASSERT_TRUE(choice) << choice.error().text();
    const auto& facts = choice->device.facts;
    EXPECT_EQ(facts.id, "cpu");
    EXPECT_EQ(facts.kind, DeviceKind::cpu);
    EXPECT_GT(facts.memory_total_bytes, facts.memory_free_bytes);
    EXPECT_GT(facts.memory_free_bytes, 0U);
    EXPECT_THAT(choice->reason, testing::HasSubstr("asked for"));
    for (const auto& step : DeviceRegistry::instance().load_steps()) {
        RecordProperty(step.name, static_cast<std::int64_t>(step.duration_us));
        EXPECT_THAT(step.name, testing::Not(testing::HasSubstr("vulkan")));
    }
}

TEST(DeviceRegistry, UnknownDeviceNamesThoseThatExist) {
    const auto choice = DeviceRegistry::instance().choose("vulkan99");
    ASSERT_FALSE(choice);
    EXPECT_EQ(choice.error().code, ErrorCode::not_found);
    EXPECT_THAT(choice.error().message, testing::HasSubstr("there is: cpu"));
}

TEST(Compute, MultipliesOnTheCpu) {
    const auto device = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(device);
    auto compute = Compute::create(*device, {.thread_count = 2});
    ASSERT_TRUE(compute) << compute.error().text();
    EXPECT_EQ(compute->thread_count(), 2U);

    const ggml_init_params parameters{ggml_tensor_overhead() * 16 + ggml_graph_overhead(), nullptr,
                                      true};
    const ggml_context_ptr context(ggml_init(parameters));
    auto* weight = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, 2, 3);
    auto* input = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, 2, 1);
    auto* product = ggml_mul_mat(context.get(), weight, input);
    auto* graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, product);
    const ggml_backend_buffer_ptr buffer(
        ggml_backend_alloc_ctx_tensors_from_buft(context.get(), compute_buffer_type(*device)));
    const std::vector<float> weights = {1, 2, 3, 4, 5, 6};
    const std::vector<float> inputs = {10, 1};
    ggml_backend_tensor_set(weight, weights.data(), 0, ggml_nbytes(weight));
    ggml_backend_tensor_set(input, inputs.data(), 0, ggml_nbytes(input));
    ASSERT_TRUE(compute->compute(graph));
    std::vector<float> products(3);
    ggml_backend_tensor_get(product, products.data(), 0, ggml_nbytes(product));
    EXPECT_THAT(products, testing::ElementsAre(12, 34, 56));
}

TEST(WeightBufferType, MatricesAreRepackedWhereTheProcessorAllowsAndRowsAreNot) {
    const auto device = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(device);
    const std::int64_t shape[4] = {1024, 1024, 1, 1};
    auto* plain = compute_buffer_type(*device);
    EXPECT_EQ(weight_buffer_type(*device, WeightUse::rows, GGML_TYPE_Q4_0, shape), plain);
    EXPECT_EQ(weight_buffer_type(*device, WeightUse::vector, GGML_TYPE_F32, shape), plain);
    auto* matrix = weight_buffer_type(*device, WeightUse::matrix, GGML_TYPE_Q4_0, shape);
    ASSERT_NE(matrix, nullptr);
    const bool has_repacking = weight_buffer_types(*device).size() > 1;
    const bool has_avx2 = testing::Value(device->facts.features, testing::Contains("AVX2"));
    if (!has_repacking || !has_avx2) GTEST_SKIP() << "this CPU backend repacks nothing";
    EXPECT_NE(matrix, plain);
}

TEST(BackendLog, KeepsTheLastComplaintsForErrors) {
    capture_backend_log();
    for (int i = 0; i < 6; ++i) {
        const std::string name = "/no/such/folder/libggml-" + std::to_string(i) + ".so";
        EXPECT_EQ(ggml_backend_load(name.c_str()), nullptr);
    }
    const std::string complaints = backend_complaints();
    EXPECT_THAT(complaints, testing::StartsWith(" Its log says: '"));
    EXPECT_THAT(complaints, testing::HasSubstr("libggml-5.so"));
    EXPECT_THAT(complaints, testing::Not(testing::HasSubstr("libggml-0.so")));
    EXPECT_THAT(complaints, testing::EndsWith("'."));
}

TEST(CpuTopology, CountsAtLeastOneCore) {
    EXPECT_GE(physical_core_count(), 1U);
    EXPECT_LE(physical_core_count(), thread_count_max);
}

}  // namespace
}  // namespace exomesh::device
