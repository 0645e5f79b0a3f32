#include "platform/anonymous_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

namespace exomesh::platform {
namespace {

TEST(AnonymousMemory, ReadsAsZeroAndKeepsWhatIsWritten) {
    auto memory = AnonymousMemory::reserve(1 << 20);
    ASSERT_TRUE(memory);
    const auto bytes = memory->bytes();
    EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; }));
    bytes[12345] = std::byte{7};
    const AnonymousMemory moved = *std::move(memory);
    EXPECT_EQ(moved.bytes()[12345], std::byte{7});
}

TEST(AnonymousMemory, RefusesMoreThanTheMachineHas) {
    const auto memory = AnonymousMemory::reserve(std::size_t{1} << 46);
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, ErrorCode::resource_exhausted);
}

#ifdef __linux__
// The flags of the mapping that holds `address`, as /proc/self/smaps prints them: "rd wr mr ...".
std::string mapping_flags(const void* address) {
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    std::ifstream maps("/proc/self/smaps");
    bool is_inside = false;
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t first = 0;
        std::uintptr_t end = 0;
        char dash = 0;
        std::istringstream words(line);
        if (words >> std::hex >> first >> dash >> end && dash == '-') {
            is_inside = wanted >= first && wanted < end;
        }
        if (is_inside && line.starts_with("VmFlags:")) return line;
    }
    return "";
}

TEST(AnonymousMemory, HugePagesAreAskedForFromTheFirstWholePageOn) {
    const bool has_huge_pages = std::filesystem::exists("/sys/kernel/mm/transparent_hugepage");
    auto memory = AnonymousMemory::reserve(8 << 20);
    ASSERT_TRUE(memory);
    prefer_huge_pages(memory->bytes().subspan(1));  // as in the middle of an allocator's block
    EXPECT_EQ(mapping_flags(memory->bytes().data() + (1 << 20)).contains(" hg"), has_huge_pages);
    EXPECT_FALSE(mapping_flags(memory->bytes().data()).contains(" hg"));
    prefer_huge_pages(memory->bytes().subspan(1, 1));  // too little, and no harm
    prefer_huge_pages({});
}
#endif

}  // namespace
}  // namespace exomesh::platform
