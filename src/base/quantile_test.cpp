#include "base/quantile.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace exomesh {
namespace {

TEST(Quantile, is_the_nearest_rank) {
    std::vector<std::uint64_t> none, one = {7}, some;
    for (std::uint64_t i = 100; i > 0; --i) some.push_back(i);
    EXPECT_EQ(quantile(none, 0.5), 0U);
    EXPECT_EQ(quantile(one, 0.0), 7U);
    EXPECT_EQ(quantile(one, 0.99), 7U);
    EXPECT_EQ(quantile(some, 0.0), 1U);
    EXPECT_EQ(quantile(some, 0.5), 50U);
    EXPECT_EQ(quantile(some, 0.99), 99U);
    EXPECT_EQ(quantile(some, 1.0), 100U);
}

}  // namespace
}  // namespace exomesh
