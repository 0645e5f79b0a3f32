// How shares come out where only whole units can be dealt out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace exomesh::placement {

// What each share gets, of 1, where `unit_count` units are dealt out as the engine does when it
// cuts a tensor group (engine/partition.h; a test of runner holds the two together): proportional,
// by largest remainder, and no positive share goes empty while another has several. With 0 units
// anything can be cut as finely as one likes. Shares are not negative, and one is positive.
[[nodiscard]] std::vector<double> in_whole_units(std::uint32_t unit_count,
                                                 std::span<const double> shares);

}  // namespace exomesh::placement
