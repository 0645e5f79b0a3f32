// Quantiles of samples.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace exomesh {

// The smallest sample that at least this share (0.5, 0.99) of all does not exceed: the nearest-rank
// method. T() of none. Sorts.
template <typename T>
[[nodiscard]] T quantile(std::vector<T>& samples, double share) {
    if (samples.empty()) return T();
    std::ranges::sort(samples);
    const double rank = std::ceil(share * static_cast<double>(samples.size()));
    const auto index = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
    return samples[std::min(index, samples.size() - 1)];
}

}  // namespace exomesh
