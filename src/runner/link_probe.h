// How fast the links between a head and its workers are, measured over their control links before
// anything is loaded. The head asks, and all ranks get what it found with the order to load, so
// that they choose alike (all_reduce_cost.h).
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "net/data_link.h"
#include "runner/all_reduce_cost.h"

namespace exomesh::runner {

inline constexpr std::size_t probe_bytes_max = std::size_t{1} << 20;
inline constexpr std::uint64_t probe_count_max = 64;

// The head: one link, which waits for an order. Takes about 20 round trips and 3 MiB.
[[nodiscard]] Result<LinkFigures> probe_link(net::DataLink& control);

// The head: the worst latency and the worst rate towards any worker. Links between workers, and the
// way back, are taken to be no worse. controls[i] is the link to rank i + 1, which waits for an
// order. unavailable: a worker is gone or silent; corrupt_data: it says something else.
[[nodiscard]] Result<LinkFigures> probe_links(std::span<net::DataLink> controls);

// The worker: answers probes until something else comes, which is the result. corrupt_data: too
// many or too large ones.
[[nodiscard]] Result<net::Message> answer_probes(net::DataLink& control, net::Deadline deadline);

}  // namespace exomesh::runner
