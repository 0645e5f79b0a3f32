// Measures the links of an opened cluster between its steps: each pair of ranks that talks, and the
// sums of the head's tensor group, with the wire type they have.
//
// The head orders, rank by rank; whoever measures tells it what came out. An order from a peer is
// checked like any other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "runner/link_meter.h"
#include "runner/links.h"
#include "runner/member.h"
#include "runner/messages.h"

namespace exomesh::runner {

inline constexpr std::uint32_t survey_sum_count_max = 10'000;

struct PairMeasurement {
    std::size_t from = 0, to = 0;  // ranks
    bool is_loopback = false;      // both on one machine, as their addresses say
    LinkMeasurement link;
};

// Of a vector of the model's embedding length: what happens twice in every layer of a token.
struct SumMeasurement {
    std::size_t rank_count = 0;
    std::size_t value_count = 0;
    std::uint32_t count_per_token = 0;  // two in each layer of the stage
    std::uint64_t p50_us = 0, p99_us = 0;
};

struct LinkReport {
    std::vector<PairMeasurement> pairs;
    std::optional<SumMeasurement> sums;  // where the head's stage has several ranks
};

// On the head's computing thread, with no step in flight. Errors are those of the links.
[[nodiscard]] Result<LinkReport> survey_links(const LoadRequest& request, Links& links,
                                              Member& member);

enum class MeasureKind : std::uint32_t {
    measure,  // the link to rank `argument`, and tell the head
    answer,   // rank `argument`, which measures
    sum,      // `argument` times
};

struct MeasureOrder {
    MeasureKind kind = MeasureKind::measure;
    std::uint32_t argument = 0;
    bool operator==(const MeasureOrder&) const = default;
};

// What a worker does about MessageType::measure. corrupt_data: no order, or one beyond the limits.
[[nodiscard]] Result<void> obey_measure(std::span<const std::byte> payload,
                                        const LoadRequest& request, Links& links, Member& member);

[[nodiscard]] std::array<std::byte, 8> encode_measure_order(const MeasureOrder& order);
[[nodiscard]] Result<MeasureOrder> decode_measure_order(std::span<const std::byte> payload);
[[nodiscard]] std::array<std::byte, 32> encode_measurement(const LinkMeasurement& measured);
[[nodiscard]] Result<LinkMeasurement> decode_measurement(std::span<const std::byte> payload);

}  // namespace exomesh::runner
