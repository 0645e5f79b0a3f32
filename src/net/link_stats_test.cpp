#include "net/link_stats.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace exomesh::net {
namespace {

TEST(WaitHistogram, of_nothing_is_zero) {
    EXPECT_EQ(WaitHistogram().quantile_us(0.5), 0U);
}

TEST(WaitHistogram, has_exact_small_values) {
    WaitHistogram histogram;
    for (std::uint64_t i = 0; i < 4; ++i) histogram.add(i);
    EXPECT_EQ(histogram.quantile_us(0.25), 0U);
    EXPECT_EQ(histogram.quantile_us(0.5), 1U);
    EXPECT_EQ(histogram.quantile_us(1.0), 3U);
}

TEST(WaitHistogram, keeps_quantiles_within_a_quarter) {
    std::mt19937_64 random(1);
    for (const double scale : {3.0, 8.0, 14.0}) {
        WaitHistogram histogram;
        std::vector<std::uint64_t> values;
        std::lognormal_distribution<double> waits(scale, 1.0);
        for (int i = 0; i < 10'000; ++i) {
            values.push_back(static_cast<std::uint64_t>(waits(random)));
            histogram.add(values.back());
        }
        std::ranges::sort(values);
        for (const double share : {0.1, 0.5, 0.9, 0.99, 1.0}) {
            const auto exact =
                static_cast<double>(values[static_cast<std::size_t>(share * 10'000) - 1]);
            const auto shown = static_cast<double>(histogram.quantile_us(share));
            EXPECT_GE(shown, exact) << share;
            EXPECT_LE(shown, exact * 1.25 + 1) << share;
        }
        EXPECT_EQ(histogram.largest_us(), values.back());
    }
}

TEST(WaitHistogram, takes_the_longest_wait_there_is) {
    WaitHistogram histogram;
    histogram.add(UINT64_MAX);
    EXPECT_EQ(histogram.quantile_us(0.5), UINT64_MAX);
}

}  // namespace
}  // namespace exomesh::net
