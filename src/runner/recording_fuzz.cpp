// Any bytes as what a rank says of what it recorded: a first byte that picks the message, then its
// payload; and times of any clock.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "runner/clock_alignment.h"
#include "runner/recording.h"
#include "runner/testing/is_refused.h"

namespace {

namespace runner = exomesh::runner;
using exomesh::Result;
using runner::testing::is_refused;
using Payload = std::span<const std::byte>;

void try_figures(Payload payload) {
    const auto figures = runner::decode_figures(payload);
    if (is_refused(figures)) return;
    EXO_ASSERT(std::ranges::equal(runner::encode_figures(*figures), payload));
}

void try_spans(Payload payload) {
    const auto report = runner::decode_span_report(payload);
    if (is_refused(report)) return;
    EXO_ASSERT(std::ranges::equal(runner::encode_span_report(*report), payload));
}

void try_small(Payload payload) {
    if (!is_refused(runner::decode_clock_request(payload))) EXO_ASSERT(payload.size() == 8);
    if (!is_refused(runner::decode_take_recorded(payload))) EXO_ASSERT(payload.size() == 4);
}

// Answers of a peer that says what it likes, received one after the other.
void try_clock(Payload payload) {
    runner::ClockAlignment clock;
    std::uint64_t received_ns = 1'000'000'000;
    while (payload.size() >= 24) {
        auto sample = runner::decode_clock_answer(payload.first(24));
        EXO_ASSERT(sample.has_value());
        sample->answer_received_ns = received_ns;
        received_ns += 100'000'000;
        (void)clock.add(*sample);
        const double uncertainty_ns = clock.uncertainty_ns(sample->answer_sent_ns);
        EXO_ASSERT(clock.empty() ? std::isinf(uncertainty_ns) : uncertainty_ns >= 0);
        EXO_ASSERT(std::isfinite(clock.to_own_ns(sample->request_received_ns)));
        payload = payload.subspan(24);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const Payload payload = std::as_bytes(std::span(data, size)).subspan(1);
    switch (data[0] % 4) {
        case 0:
            try_figures(payload);
            break;
        case 1:
            try_spans(payload);
            break;
        case 2:
            try_clock(payload);
            break;
        default:
            try_small(payload);
            break;
    }
    return 0;
}
