// What ranks record of their steps and tell the head over the control link: how long each part of a
// step took, and in a trace every span of it. Values, and their bytes: pure, and made to be fuzzed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "platform/trace.h"
#include "runner/clock_alignment.h"

namespace exomesh::runner {

enum class Recording : std::uint8_t {
    nothing,
    figures,  // sums of time for each step
    spans,    // these, and all spans for a trace
};

// What one step cost one rank.
struct StepFigures {
    std::uint32_t step = 0;
    std::uint32_t total_us = 0;    // on the head: from starting it to its logits
    std::uint32_t compute_us = 0;  // without sums
    std::uint32_t sum_us = 0;      // sums over the tensor group, waiting in them included
    std::uint32_t wait_us = 0;     // for messages of other ranks
    // On data links, encrypted; of the step at which they left or came. In a pipeline some come
    // while a rank is still at the step before theirs.
    std::uint32_t sent_bytes = 0;
    std::uint32_t received_bytes = 0;
    bool operator==(const StepFigures&) const = default;
};

// What a recorder has counted since the last call, as the figures of a step that ends here.
[[nodiscard]] StepFigures take_figures(platform::TraceRecorder& recorder);

// What overlaps counts once: no part is longer than the whole, as decode_figures() wants it.
[[nodiscard]] StepFigures within_total(StepFigures figures);

// Part of what a rank recorded.
struct SpanReport {
    std::uint64_t dropped_count = 0;  // spans that found no room, all in all
    bool is_last = false;
    std::vector<platform::TraceSpan> spans = {};
    bool operator==(const SpanReport&) const = default;
};

// Messages of one TLS record, which come whole or not yet: the watch over the workers reads them in
// between.
inline constexpr std::size_t figures_per_message_max = 64;
inline constexpr std::size_t spans_per_message_max = 500;
inline constexpr std::uint32_t step_us_max = 3'600'000'000;  // an hour: beyond any deadline

// Decoders: corrupt_data for what is malformed, over a limit, or cannot be: steps of figures ascend
// strictly, a part takes no longer than the whole, a span does not end before it begins.
[[nodiscard]] std::vector<std::byte> encode_figures(std::span<const StepFigures> figures);
[[nodiscard]] Result<std::vector<StepFigures>> decode_figures(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_span_report(const SpanReport& report);
[[nodiscard]] Result<SpanReport> decode_span_report(std::span<const std::byte> payload);

// A question for the peer's time has ours; the answer returns that beside the peer's two.
[[nodiscard]] std::array<std::byte, 8> encode_clock_request(std::uint64_t sent_ns);
[[nodiscard]] Result<std::uint64_t> decode_clock_request(std::span<const std::byte> payload);
[[nodiscard]] std::array<std::byte, 24> encode_clock_answer(const ClockSample& sample);
[[nodiscard]] Result<ClockSample> decode_clock_answer(std::span<const std::byte> payload);

// The question for all that was recorded, when so many steps are over.
[[nodiscard]] std::array<std::byte, 4> encode_take_recorded(std::uint32_t step_count);
[[nodiscard]] Result<std::uint32_t> decode_take_recorded(std::span<const std::byte> payload);

}  // namespace exomesh::runner
