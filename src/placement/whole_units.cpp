#include "placement/whole_units.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "base/assert.h"

namespace exomesh::placement {

std::vector<double> in_whole_units(std::uint32_t unit_count, std::span<const double> shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    EXO_ASSERT(sum > 0);
    std::vector<double> exact(shares.begin(), shares.end());
    for (double& part : exact) part /= sum;
    if (unit_count == 0) return exact;
    std::vector<double> units, remainders;
    double left = unit_count;
    for (const double part : exact) {
        units.push_back(std::min(std::floor(unit_count * part), left));
        remainders.push_back(part > 0 ? unit_count * part - units.back() : -1.0);
        left -= units.back();
    }
    for (; left > 0; --left) {
        const auto largest = std::ranges::max_element(remainders);
        ++units[static_cast<std::size_t>(largest - remainders.begin())];
        *largest -= 1.0;
    }
    for (std::size_t i = 0; i < units.size(); ++i) {
        const auto largest = std::ranges::max_element(units);
        if (shares[i] > 0 && units[i] == 0 && *largest > 1) {
            --*largest;
            ++units[i];
        }
    }
    for (double& part : units) part /= unit_count;
    return units;
}

}  // namespace exomesh::placement
