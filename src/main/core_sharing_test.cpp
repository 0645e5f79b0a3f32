#include "main/core_sharing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace exomesh::main {
namespace {

using ::testing::ElementsAre;

TEST(CoreSharing, DividesTheCoresAmongTheRanksOnTheCpu) {
    const CoreSharing three = share_cores(3, 1, {"auto", "vulkan0", "cpu", "cpu"}, 0, 8);
    EXPECT_THAT(three.thread_counts, ElementsAre(4, 4, 4, 0));
    EXPECT_FALSE(three.spin_us);
    EXPECT_THAT(share_cores(2, 1, {}, 3, 8).thread_counts, ElementsAre(3, 3, 3));
    EXPECT_THAT(share_cores(1, 1, {}, 0, 8).thread_counts, ElementsAre(0, 0));
}

// Of four local ranks and a peer on two cores, --split auto may keep the head and the peer.
TEST(CoreSharing, SpinsOnlyWhereNobodyWaitsForTheCore) {
    EXPECT_EQ(share_cores(2, 0, {}, 0, 2).spin_us, 300U);
    EXPECT_EQ(share_cores(4, 1, {}, 0, 2).spin_us, 0U);
    EXPECT_EQ(share_cores(1, 1, {}, 0, 2).spin_us, std::nullopt);
    EXPECT_EQ(share_cores(2, 1, {}, 2, 2).spin_us, 0U);
}

}  // namespace
}  // namespace exomesh::main
