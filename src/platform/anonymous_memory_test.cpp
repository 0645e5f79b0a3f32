#include "platform/anonymous_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
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

}  // namespace
}  // namespace exomesh::platform
