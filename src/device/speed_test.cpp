#include "device/speed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace exomesh::device {
namespace {

TEST(Speed, MeasuresTheCpuOnceAndRemembers) {
    const auto cpu = DeviceRegistry::instance().cpu();
    ASSERT_TRUE(cpu);
    const auto folder =
        std::filesystem::temp_directory_path() / ("exomesh_speed_" + std::to_string(::getpid()));
    EXPECT_FALSE(kept_benchmark(*cpu, folder));
    const auto first = run_and_keep_benchmark(*cpu, folder);
    ASSERT_TRUE(first) << first.error().text();
    EXPECT_EQ(first->weights.size(), 5U);
    for (const auto& weight : first->weights) {
        GTEST_LOG_(INFO) << weight.type << ": decode " << weight.decode_bytes_per_s / 1e9
                         << " GB/s, prefill " << weight.prefill_flop_per_s / 1e9 << " GFLOP/s";
        EXPECT_GT(weight.decode_bytes_per_s, 1e7);
        EXPECT_LT(weight.decode_bytes_per_s, 1e13);
        EXPECT_GT(weight.prefill_flop_per_s, 1e8);
    }
    GTEST_LOG_(INFO) << "upload " << first->upload_bytes_per_s / 1e9 << " GB/s, download "
                     << first->download_bytes_per_s / 1e9 << " GB/s, took "
                     << first->duration_us / 1000 << " ms";
    const auto second = kept_benchmark(*cpu, folder);
    std::filesystem::remove_all(folder);
    ASSERT_TRUE(second);
    // The same figures to the last bit: they were read, not measured again.
    EXPECT_EQ(second->duration_us, first->duration_us);
    EXPECT_EQ(second->weights[0].decode_bytes_per_s, first->weights[0].decode_bytes_per_s);
}

TEST(Speed, ReportsThatDoNotParseAreErrors) {
    EXPECT_FALSE(benchmark_from_json("{}"));
    EXPECT_FALSE(benchmark_from_json("[1, 2"));
    EXPECT_FALSE(benchmark_from_json(R"({"identity": "x", "weights": 3})"));
}

}  // namespace
}  // namespace exomesh::device
