#include "platform/system_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string_view>

namespace exomesh::platform {
namespace {

namespace fs = std::filesystem;

// A folder that looks like a system of 8 GiB, half of it free.
class SystemMemoryTest : public ::testing::Test {
  protected:
    void SetUp() override {
        root_ = fs::temp_directory_path() / ("exomesh_memory_" + std::to_string(::getpid()));
        write("proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n");
    }
    void TearDown() override { fs::remove_all(root_); }

    void write(std::string_view path, std::string_view text) const {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream(root_ / path) << text;
    }
    [[nodiscard]] SystemMemory memory() const { return system_memory(root_.string()); }

    fs::path root_;
};

constexpr std::uint64_t gibibyte = 1ULL << 30;

TEST_F(SystemMemoryTest, IsWhatTheKernelEstimates) {
    EXPECT_EQ(memory().total_bytes, 8 * gibibyte);
    EXPECT_EQ(memory().free_bytes, 4 * gibibyte);
}

TEST_F(SystemMemoryTest, EndsAtTheLimitOfAnyGroupAbove) {
    write("proc/self/cgroup", "0::/limited/inner\n");
    write("sys/fs/cgroup/limited/inner/memory.max", "max\n");
    write("sys/fs/cgroup/limited/memory.max", "2147483648\n");
    write("sys/fs/cgroup/limited/memory.current", "1610612736\n");
    EXPECT_EQ(memory().total_bytes, 2 * gibibyte);
    EXPECT_EQ(memory().free_bytes, gibibyte / 2);
    // A mapped model is charged to the group, but costs nothing when it has to go.
    write("sys/fs/cgroup/limited/memory.stat",
          "anon 5\ninactive_file 536870912\nactive_file 536870912\n");
    EXPECT_EQ(memory().free_bytes, gibibyte + gibibyte / 2);
    write("sys/fs/cgroup/limited/memory.current", "4294967296\n");
    EXPECT_EQ(memory().free_bytes, 0U);
}

TEST_F(SystemMemoryTest, EndsAtTheLimitOfAContainer) {
    write("proc/self/cgroup", "0::/\n");
    write("sys/fs/cgroup/memory.max", "1073741824\n");
    EXPECT_EQ(memory().free_bytes, gibibyte);
}

TEST(CheckMemory, RefusesWhatThereIsNot) {
    EXPECT_TRUE(check_memory(1 << 20));
    const auto refused = check_memory(1ULL << 60);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::resource_exhausted);
}

}  // namespace
}  // namespace exomesh::platform
