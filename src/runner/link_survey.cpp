#include "runner/link_survey.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/quantile.h"
#include "platform/clock.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t pair_ms_max = 10'000;
constexpr std::uint64_t sums_ms_max = 30'000;
constexpr std::uint32_t sum_warm_up_count = 8;
constexpr std::uint32_t sum_count = 200;

constexpr auto measure_type = static_cast<net::FrameType>(MessageType::measure);
constexpr auto measured_type = static_cast<net::FrameType>(MessageType::measured);

static_assert(std::endian::native == std::endian::little, "numbers travel as they lie");

template <typename T>
void put_figure(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof value);
}

template <typename T>
T get_figure(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

Result<void> order(Links& links, std::size_t rank, const MeasureOrder& what) {
    return links.at(rank).send(measure_type, {encode_measure_order(what)},
                               net::Deadline::after_ms(pair_ms_max));
}

// The head's own link, or one between two others, which are told.
Result<LinkMeasurement> measure_pair(Links& links, std::size_t from, std::size_t to) {
    const auto deadline = net::Deadline::after_ms(pair_ms_max);
    if (from == 0) return measure_link(links.at(to), {}, deadline);
    EXO_TRY(order(links, to,
                  {.kind = MeasureKind::answer, .argument = static_cast<std::uint32_t>(from)}));
    EXO_TRY(order(links, from,
                  {.kind = MeasureKind::measure, .argument = static_cast<std::uint32_t>(to)}));
    EXO_TRY_ASSIGN(const net::Message message, links.at(from).receive(deadline));
    if (message.type == static_cast<net::FrameType>(MessageType::failure)) {
        return std::unexpected(decode_failure(message.payload));
    }
    if (message.type != measured_type) {
        return fail(ErrorCode::corrupt_data,
                    links.at(from).peer_name() + " sent something else than a measurement.");
    }
    return decode_measurement(message.payload);
}

// Every rank of the group does the same; durations of this one.
Result<std::vector<std::uint64_t>> sum_repeatedly(Member& member, std::uint32_t count) {
    const auto deadline = net::Deadline::after_ms(sums_ms_max);
    std::vector<std::uint64_t> durations_us;
    std::vector<float> values(member.embedding_length());
    for (std::uint32_t i = 0; i < count; ++i) {
        values.assign(values.size(), 1.0F);
        const std::uint64_t begin_us = platform::monotonic_us();
        EXO_TRY(member.sum(values, deadline));
        durations_us.push_back(platform::monotonic_us() - begin_us);
    }
    return durations_us;
}

Result<SumMeasurement> measure_sums(const std::vector<std::size_t>& others, Links& links,
                                    Member& member) {
    constexpr std::uint32_t count = sum_warm_up_count + sum_count;
    for (const std::size_t rank : others) {
        EXO_TRY(order(links, rank, {.kind = MeasureKind::sum, .argument = count}));
    }
    EXO_TRY_ASSIGN(auto durations_us, sum_repeatedly(member, count));
    durations_us.erase(durations_us.begin(), durations_us.begin() + sum_warm_up_count);
    return SumMeasurement{.rank_count = others.size() + 1,
                          .value_count = member.embedding_length(),
                          .p50_us = quantile(durations_us, 0.5),
                          .p99_us = quantile(durations_us, 0.99)};
}

}  // namespace

Result<LinkReport> survey_links(const LoadRequest& request, Links& links, Member& member) {
    LinkReport report;
    const std::vector<RankPlan>& ranks = request.ranks;
    std::vector<std::size_t> group;
    for (std::size_t from = 0; from < ranks.size(); ++from) {
        for (std::size_t to = from + 1; to < ranks.size(); ++to) {
            if (!needs_link(ranks, from, to)) continue;
            EXO_TRY_ASSIGN(const LinkMeasurement link, measure_pair(links, from, to));
            // The head has no address of its own: it is where its workers on loopback are.
            const bool is_local =
                is_loopback(ranks[to].host) && (from == 0 || is_loopback(ranks[from].host));
            report.pairs.push_back({.from = from, .to = to, .is_loopback = is_local, .link = link});
            if (from == 0 && ranks[to].stage == ranks[0].stage) group.push_back(to);
        }
    }
    if (group.empty()) return report;
    EXO_TRY_ASSIGN(report.sums, measure_sums(group, links, member));
    report.sums->count_per_token = 2 * ranks[0].slice.layers.count;
    return report;
}

Result<void> obey_measure(std::span<const std::byte> payload, const LoadRequest& request,
                          Links& links, Member& member) {
    EXO_TRY_ASSIGN(const MeasureOrder what, decode_measure_order(payload));
    if (what.kind == MeasureKind::sum) {
        EXO_TRY(sum_repeatedly(member, what.argument));
        return {};
    }
    const std::size_t other = what.argument;
    if (other == 0 || other >= request.ranks.size() ||
        !needs_link(request.ranks, request.rank, other)) {
        return fail(ErrorCode::corrupt_data, "the head measures a link that is not there.");
    }
    const auto deadline = net::Deadline::after_ms(pair_ms_max);
    if (what.kind == MeasureKind::answer) return serve_measurement(links.at(other), deadline);
    EXO_TRY_ASSIGN(const LinkMeasurement measured, measure_link(links.at(other), {}, deadline));
    return links.at(0).send(measured_type, {encode_measurement(measured)}, deadline);
}

std::array<std::byte, 8> encode_measure_order(const MeasureOrder& order) {
    std::array<std::byte, 8> bytes{};
    put_figure(bytes.data(), static_cast<std::uint32_t>(order.kind));
    put_figure(bytes.data() + 4, order.argument);
    return bytes;
}

Result<MeasureOrder> decode_measure_order(std::span<const std::byte> payload) {
    const auto malformed = [] {
        return fail(ErrorCode::corrupt_data, "the order to measure is none.");
    };
    if (payload.size() != 8) return malformed();
    const auto kind = get_figure<std::uint32_t>(payload.data());
    if (kind > static_cast<std::uint32_t>(MeasureKind::sum)) return malformed();
    const MeasureOrder order{.kind = static_cast<MeasureKind>(kind),
                             .argument = get_figure<std::uint32_t>(payload.data() + 4)};
    if (order.kind == MeasureKind::sum && order.argument > survey_sum_count_max) return malformed();
    return order;
}

std::array<std::byte, 32> encode_measurement(const LinkMeasurement& measured) {
    std::array<std::byte, 32> bytes{};
    put_figure(bytes.data(), measured.round_trip_count);
    put_figure(bytes.data() + 8, measured.round_trip_p50_us);
    put_figure(bytes.data() + 16, measured.round_trip_p99_us);
    put_figure(bytes.data() + 24, measured.bytes_per_s);
    return bytes;
}

Result<LinkMeasurement> decode_measurement(std::span<const std::byte> payload) {
    LinkMeasurement measured;
    if (payload.size() == 32) {
        measured = {.round_trip_count = get_figure<std::uint64_t>(payload.data()),
                    .round_trip_p50_us = get_figure<std::uint64_t>(payload.data() + 8),
                    .round_trip_p99_us = get_figure<std::uint64_t>(payload.data() + 16),
                    .bytes_per_s = get_figure<double>(payload.data() + 24)};
    }
    if (payload.size() != 32 || !std::isfinite(measured.bytes_per_s) || measured.bytes_per_s < 0) {
        return fail(ErrorCode::corrupt_data, "the measurement of a link is none.");
    }
    return measured;
}

}  // namespace exomesh::runner
