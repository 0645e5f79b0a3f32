#include "runner/all_reduce_cost.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

namespace exomesh::runner {

namespace {

// Guesses for one core, not calibrated on any machine. They weigh rounds against bytes.
constexpr double exchange_us = 8;   // one more message sent and received
constexpr double byte_us = 0.8e-3;  // encrypted, copied, decrypted
constexpr double encode_value_us = 0.25e-3;
constexpr double decode_value_us = 0.15e-3;

constexpr double weight_byte_us = 0.1e-3;  // 10 GB/s

// The kinds of networks, an order of magnitude apart: a wired one, a wireless one, the Internet;
// and what Ethernet comes in. Boundaries are halfway between them.
constexpr std::array<std::uint32_t, 3> latencies_us = {40, 1500, 20'000};
constexpr std::array<std::uint32_t, 4> rates_bytes_per_ms = {1200, 12'000, 118'000, 1'200'000};
constexpr std::uint32_t tunnel_latency_us = 2000;  // no two processes are so far from each other

constexpr std::size_t overlap_tokens_least = 64;
constexpr double worthwhile = 2;  // a gain must be clear to be sought

// By their ratio.
std::uint32_t nearest(std::span<const std::uint32_t> kinds, std::uint32_t measured) {
    return std::ranges::min(kinds, {}, [measured](std::uint32_t kind) {
        return std::abs(std::log(static_cast<double>(kind) / std::max(measured, 1U)));
    });
}

}  // namespace

LinkFigures link_figures(std::uint64_t empty_us, std::size_t large_bytes, std::uint64_t large_us) {
    const double way_us = static_cast<double>(empty_us) / 2 - exchange_us;
    const double bytes = static_cast<double>(large_bytes);
    const double work_us = bytes * byte_us;
    const double time_us = static_cast<double>(large_us) - static_cast<double>(empty_us) - work_us;
    // What takes no longer than the work alone has a link that does not count.
    const double transfer_us = std::max(time_us, work_us / 16);
    constexpr double most = std::numeric_limits<std::uint32_t>::max();
    return {.latency_us = static_cast<std::uint32_t>(std::clamp(way_us, 1.0, most)),
            .bytes_per_ms =
                static_cast<std::uint32_t>(std::clamp(1e3 * bytes / transfer_us, 1.0, most))};
}

LinkFigures settled_figures(const LinkFigures& measured, Nearness nearness) {
    if (nearness == Nearness::one_machine && measured.latency_us < tunnel_latency_us) return {};
    return {.latency_us = nearest(latencies_us, measured.latency_us),
            .bytes_per_ms = nearest(rates_bytes_per_ms, measured.bytes_per_ms)};
}

double all_reduce_us(AllReduceMethod method, std::size_t rank_count, std::size_t value_count,
                     WireType wire, const LinkFigures& link) {
    const auto ranks = static_cast<double>(rank_count);
    const auto values = static_cast<double>(value_count);
    const auto bytes = static_cast<double>(encoded_size_bytes(wire, value_count));
    const double peers = ranks - 1;
    const double one_byte_us = byte_us + 1e3 / static_cast<double>(link.bytes_per_ms);
    switch (method) {
        case AllReduceMethod::one_shot:
            return link.latency_us + peers * (exchange_us + bytes * one_byte_us) +
                   values * (encode_value_us + ranks * decode_value_us);
        case AllReduceMethod::scatter_gather:
            return 2.0 * link.latency_us + 2 * peers * (exchange_us + bytes / ranks * one_byte_us) +
                   values * (encode_value_us * (1 + 1 / ranks) + 2 * decode_value_us);
        case AllReduceMethod::recursive_doubling:
            return std::log2(ranks) * (link.latency_us + exchange_us + bytes * one_byte_us +
                                       values * (encode_value_us + 2 * decode_value_us));
    }
    return 0;
}

AllReduceMethod choose_all_reduce(std::size_t rank_count, std::size_t value_count, WireType wire,
                                  const LinkFigures& link) {
    AllReduceMethod best = AllReduceMethod::one_shot;
    double best_us = all_reduce_us(best, rank_count, value_count, wire, link);
    for (const AllReduceMethod method :
         {AllReduceMethod::scatter_gather, AllReduceMethod::recursive_doubling}) {
        if (!can_reduce(method, rank_count)) continue;
        const double time_us = all_reduce_us(method, rank_count, value_count, wire, link);
        if (time_us >= best_us) continue;
        best = method;
        best_us = time_us;
    }
    return best;
}

std::uint32_t choose_overlap_tokens(const OverlapQuestion& question) {
    constexpr LinkFigures no_way{.latency_us = 0,
                                 .bytes_per_ms = std::numeric_limits<std::uint32_t>::max()};
    const auto sum_us = [&](std::size_t tokens, const LinkFigures& link) {
        const std::size_t values = tokens * question.embedding_length;
        const AllReduceMethod method =
            choose_all_reduce(question.rank_count, values, question.wire, question.link);
        return all_reduce_us(method, question.rank_count, values, question.wire, link);
    };
    const double weights_us = static_cast<double>(question.weight_bytes) * weight_byte_us;
    for (std::size_t tokens = overlap_tokens_least; tokens <= question.chunk_length; tokens *= 2) {
        const double work_us = sum_us(tokens, no_way);
        const double on_the_way_us = sum_us(tokens, question.link) - work_us;
        const double more_work_us = 2 * sum_us(tokens / 2, no_way) - work_us;
        const double cost_us = weights_us + more_work_us;
        if (on_the_way_us > worthwhile * cost_us) return static_cast<std::uint32_t>(tokens);
    }
    return 0;
}

}  // namespace exomesh::runner
