#include "platform/page_faults.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "platform/descriptor.h"

namespace exomesh::platform {
namespace {

// As the system says it in another place.
std::uint64_t faults_of_proc() {
    std::ifstream file("/proc/self/stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string field;
    for (int i = 3; i <= 12; ++i) fields >> field;  // "(12) majflt"
    return std::stoull(field);
}

TEST(MajorPageFaults, AreWhatTheSystemCounts) {
    const std::string path =
        ::testing::TempDir() + "page_faults_test." + std::to_string(::getpid());
    std::ofstream(path) << std::string(1 << 20, 'x');
    const std::uint64_t before = major_page_faults();
    {
        const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        ASSERT_GE(file.get(), 0);
        ::fdatasync(file.get());
        // Where the file lies in memory only, nothing is dropped, and both count the same still.
        ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
        void* const mapped = ::mmap(nullptr, 1 << 20, PROT_READ, MAP_PRIVATE, file.get(), 0);
        ASSERT_NE(mapped, MAP_FAILED);
        EXPECT_EQ(*static_cast<const volatile char*>(mapped), 'x');
        ::munmap(mapped, 1 << 20);
    }
    std::filesystem::remove(path);
    EXPECT_EQ(major_page_faults(), faults_of_proc());
    EXPECT_GE(major_page_faults(), before);
}

}  // namespace
}  // namespace exomesh::platform
