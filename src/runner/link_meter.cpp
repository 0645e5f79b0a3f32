#include "runner/link_meter.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "base/quantile.h"
#include "platform/clock.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t warm_up_count = 8;
constexpr std::size_t bulk_bytes_first = 64 << 10;
constexpr auto echo_type = static_cast<net::FrameType>(MessageType::echo);

enum class EchoRole : std::uint8_t { more_to_come, last };

// Sends an echo of this length and waits for the answer.
Result<std::uint64_t> echo_us(net::DataLink& link, EchoRole role, std::span<std::byte> payload,
                              net::Deadline deadline) {
    payload[0] = static_cast<std::byte>(role);
    std::array<std::byte, echo_reply_bytes> reply{};
    const std::uint64_t begin_us = platform::monotonic_us();
    EXO_TRY(link.send(echo_type, {payload}, deadline));
    EXO_TRY(link.receive_into(echo_type, reply, deadline));
    return platform::monotonic_us() - begin_us;
}

}  // namespace

Result<LinkMeasurement> measure_link(net::DataLink& link, const MeterOptions& options,
                                     net::Deadline deadline) {
    EXO_ASSERT(options.round_trip_count_max + warm_up_count + 16 < echo_count_max);
    std::vector<std::byte> payload(echo_reply_bytes);
    std::vector<std::uint64_t> round_trips_us;
    const auto enough = net::Deadline::after_us(options.round_trips_us_max);
    for (std::uint64_t i = 0; i < options.round_trip_count_max + warm_up_count; ++i) {
        EXO_TRY_ASSIGN(const std::uint64_t duration_us,
                       echo_us(link, EchoRole::more_to_come, payload, deadline));
        if (i >= warm_up_count || enough.passed()) round_trips_us.push_back(duration_us);
        if (enough.passed()) break;
    }
    LinkMeasurement measured{.round_trip_count = round_trips_us.size(),
                             .round_trip_p50_us = quantile(round_trips_us, 0.5),
                             .round_trip_p99_us = quantile(round_trips_us, 0.99)};
    for (std::size_t size = bulk_bytes_first; size <= echo_bytes_max; size *= 2) {
        payload.resize(size);
        EXO_TRY_ASSIGN(const std::uint64_t duration_us,
                       echo_us(link, EchoRole::more_to_come, payload, deadline));
        // Its first byte and the answer are a round trip; the rest is the message.
        const std::uint64_t bulk_us =
            duration_us - std::min(duration_us - 1, measured.round_trip_p50_us);
        measured.bytes_per_s = static_cast<double>(size) * 1e6 / static_cast<double>(bulk_us);
        if (duration_us >= options.bulk_us_enough) break;
    }
    payload.resize(echo_reply_bytes);
    EXO_TRY(echo_us(link, EchoRole::last, payload, deadline));
    return measured;
}

Result<void> answer_echo(net::DataLink& link, std::span<const std::byte> payload,
                         net::Deadline deadline) {
    if (payload.size() < echo_reply_bytes || payload.size() > echo_bytes_max) {
        return fail(ErrorCode::corrupt_data, link.peer_name() + " sent an echo beyond its limits.");
    }
    return link.send(echo_type, {payload.first(echo_reply_bytes)}, deadline);
}

Result<void> serve_measurement(net::DataLink& link, net::Deadline deadline) {
    for (std::uint64_t i = 0; i < echo_count_max; ++i) {
        EXO_TRY_ASSIGN(const net::Message message, link.receive(deadline));
        if (message.type != echo_type) {
            return fail(ErrorCode::corrupt_data,
                        link.peer_name() + " was to probe the link and sent something else.");
        }
        EXO_TRY(answer_echo(link, message.payload, deadline));
        if (message.payload[0] == static_cast<std::byte>(EchoRole::last)) return {};
    }
    return fail(ErrorCode::corrupt_data, link.peer_name() + " probes the link without end.");
}

}  // namespace exomesh::runner
