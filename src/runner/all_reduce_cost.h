// Which all-reduce is faster: an alpha-beta model (Thakur et al., see all_reduce.h) with the work
// of the processor for each message and value. Pure: ranks that have the same figures choose the
// same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runner/all_reduce.h"

namespace exomesh::runner {

// Of the slowest link of a group. Whole numbers, so that all ranks read the same.
struct LinkFigures {
    std::uint32_t latency_us = 10;           // one way, beside the work of both processors
    std::uint32_t bytes_per_ms = 1'000'000;  // of one rank's uplink, which all its links share
    bool operator==(const LinkFigures&) const = default;
};

// From what was measured: the round trip of an empty message, and that of `large_bytes` with an
// empty answer.
[[nodiscard]] LinkFigures link_figures(std::uint64_t empty_us, std::size_t large_bytes,
                                       std::uint64_t large_us);

// Whether all of a group's ranks are on one machine, as their addresses say.
enum class Nearness { one_machine, network };

// What is close enough to choose by, and the same at each start: each way to sum rounds otherwise,
// so that a text must not depend on what disturbed a measurement. Within one machine these are no
// measured figures, unless they are those of a tunnel; those of a network are the nearest of a few
// kinds, which lie far from each other.
[[nodiscard]] LinkFigures settled_figures(const LinkFigures& measured, Nearness nearness);

// What one all-reduce takes by the model, in microseconds.
[[nodiscard]] double all_reduce_us(AllReduceMethod method, std::size_t rank_count,
                                   std::size_t value_count, WireType wire, const LinkFigures& link);

[[nodiscard]] AllReduceMethod choose_all_reduce(std::size_t rank_count, std::size_t value_count,
                                                WireType wire, const LinkFigures& link);

// Of one of the two sums of a layer, for a chunk of a prompt.
struct OverlapQuestion {
    std::size_t rank_count = 0;
    std::size_t embedding_length = 0;
    std::size_t chunk_length = 0;    // tokens at most
    std::uint64_t weight_bytes = 0;  // that a rank reads between two sums
    WireType wire = WireType::q8_0;
    LinkFigures link;
};

// From how many tokens on a chunk is better computed in two halves, one of which computes while the
// sum of the other travels: where the time on the way is more than what it costs to read all
// weights twice and to send twice as many messages. 0: never.
[[nodiscard]] std::uint32_t choose_overlap_tokens(const OverlapQuestion& question);

}  // namespace exomesh::runner
