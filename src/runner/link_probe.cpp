#include "runner/link_probe.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "runner/control.h"
#include "runner/messages.h"
#include "runner/worker.h"

namespace exomesh::runner {

namespace {

constexpr auto ping = static_cast<net::FrameType>(MessageType::ping);
constexpr auto pong = static_cast<net::FrameType>(MessageType::pong);

// The best of a few: what disturbs only ever makes it slower.
constexpr int small_count = 16;
constexpr int large_count = 3;
constexpr std::size_t large_bytes = std::size_t{64} << 10;
static_assert(small_count + 2 * large_count <= probe_count_max);
// A link that moves large_bytes within this is measured with more of them.
constexpr std::uint64_t fast_us = 5000;

// From the first byte sent to the answer.
Result<std::uint64_t> round_trip_us(net::DataLink& control, net::Bytes payload) {
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto deadline = net::Deadline::after_ms(silence_ms_max);
    EXO_TRY(control.send(ping, {payload}, deadline));
    const auto answer = control.receive(deadline);
    if (!answer && control.is_open()) {
        return fail(ErrorCode::unavailable,
                    "it has been silent for " + std::to_string(silence_ms_max) + " ms.");
    }
    if (!answer) return std::unexpected(answer.error());
    if (answer->type != pong || !answer->payload.empty())
        return fail(ErrorCode::corrupt_data, "it answered a probe with something else.");
    return platform::monotonic_us() - begin_us;
}

Result<std::uint64_t> best_round_trip_us(net::DataLink& control, net::Bytes payload, int count) {
    std::uint64_t best_us = std::numeric_limits<std::uint64_t>::max();
    for (int i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(const std::uint64_t time_us, round_trip_us(control, payload));
        best_us = std::min(best_us, time_us);
    }
    return best_us;
}

}  // namespace

Result<LinkFigures> probe_link(net::DataLink& control) {
    EXO_TRY_ASSIGN(const std::uint64_t small_us, best_round_trip_us(control, {}, small_count));
    std::vector<std::byte> payload(large_bytes);
    EXO_TRY_ASSIGN(std::uint64_t large_us, best_round_trip_us(control, payload, large_count));
    if (large_us < fast_us) {
        payload.resize(probe_bytes_max);
        EXO_TRY_ASSIGN(large_us, best_round_trip_us(control, payload, large_count));
    }
    return link_figures(small_us, payload.size(), large_us);
}

Result<LinkFigures> probe_links(std::span<net::DataLink> controls) {
    LinkFigures worst{.latency_us = 1, .bytes_per_ms = std::numeric_limits<std::uint32_t>::max()};
    for (std::size_t i = 0; i < controls.size(); ++i) {
        auto figures = probe_link(controls[i]);
        if (!figures) {
            return std::unexpected(error_of_worker(i + 1, controls[i], std::move(figures).error()));
        }
        worst.latency_us = std::max(worst.latency_us, figures->latency_us);
        worst.bytes_per_ms = std::min(worst.bytes_per_ms, figures->bytes_per_ms);
    }
    return worst;
}

Result<net::Message> answer_probes(net::DataLink& control, net::Deadline deadline) {
    for (std::uint64_t i = 0; i <= probe_count_max; ++i) {
        EXO_TRY_ASSIGN(const net::Message message, control.receive(deadline));
        if (message.type != ping) return message;
        if (message.payload.size() > probe_bytes_max) {
            return fail(ErrorCode::corrupt_data, control.peer_name() + " sent too large a probe.");
        }
        EXO_TRY(control.send(pong, {}, deadline));
    }
    return fail(ErrorCode::corrupt_data, control.peer_name() + " probes the link without end.");
}

}  // namespace exomesh::runner
