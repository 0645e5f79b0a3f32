#include "net/link_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace exomesh::net {
namespace {

// 0 to 3 have a bucket each; above, each power of two has four: its two bits below the highest.
std::size_t bucket_of(std::uint64_t value) {
    if (value < 4) return static_cast<std::size_t>(value);
    const auto exponent = static_cast<std::size_t>(std::bit_width(value)) - 1;
    const auto quarter = static_cast<std::size_t>(value >> (exponent - 2)) & 3;
    return std::min((exponent - 1) * 4 + quarter, WaitHistogram::bucket_count - 1);
}

std::uint64_t largest_in(std::size_t bucket) {
    if (bucket < 4) return bucket;
    const std::size_t exponent = bucket / 4 + 1;
    return ((std::uint64_t{4} + bucket % 4 + 1) << (exponent - 2)) - 1;
}

}  // namespace

void WaitHistogram::add(std::uint64_t duration_us) {
    ++counts_[bucket_of(duration_us)];
    ++count_;
    sum_us_ += duration_us;
    largest_us_ = std::max(largest_us_, duration_us);
}

std::uint64_t WaitHistogram::quantile_us(double share) const {
    const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < bucket_count; ++bucket) {
        seen += counts_[bucket];
        if (seen > 0 && static_cast<double>(seen) >= wanted) {
            // The last bucket holds all that is larger, too.
            const bool is_last = bucket + 1 == bucket_count;
            return is_last ? largest_us_ : std::min(largest_in(bucket), largest_us_);
        }
    }
    return 0;
}

}  // namespace exomesh::net
