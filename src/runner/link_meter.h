// Measures a link between two ranks: round trips of a small message, and bandwidth.
//
// One rank measures, the other answers: the answer to an echo message is its first
// echo_reply_bytes. A worker answers those of its head between steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "net/data_link.h"

namespace exomesh::runner {

inline constexpr std::size_t echo_reply_bytes = 8;
inline constexpr std::size_t echo_bytes_max = 4 << 20;
inline constexpr std::uint64_t echo_count_max = 100'000;  // that a rank answers in a row

struct LinkMeasurement {
    std::uint64_t round_trip_count = 0;
    std::uint64_t round_trip_p50_us = 0;
    std::uint64_t round_trip_p99_us = 0;
    double bytes_per_s = 0;  // of one large message in one direction
    bool operator==(const LinkMeasurement&) const = default;
};

struct MeterOptions {
    std::uint64_t round_trips_us_max = 100'000;  // for all round trips together...
    std::uint64_t round_trip_count_max = 1000;
    std::uint64_t bulk_us_enough = 20'000;  // a message this long in coming is large enough
};

// Nobody else may use the link meanwhile. The peer must be in serve_measurement(), or answer echoes
// between its orders. Takes about round_trips_us_max + 3 × bulk_us_enough.
[[nodiscard]] Result<LinkMeasurement> measure_link(net::DataLink& link, const MeterOptions& options,
                                                   net::Deadline deadline);

// Answers until the one that measures has said that it is done.
[[nodiscard]] Result<void> serve_measurement(net::DataLink& link, net::Deadline deadline);

// Answers one echo message that has been received. corrupt_data for one beyond the limits.
[[nodiscard]] Result<void> answer_echo(net::DataLink& link, std::span<const std::byte> payload,
                                       net::Deadline deadline);

}  // namespace exomesh::runner
