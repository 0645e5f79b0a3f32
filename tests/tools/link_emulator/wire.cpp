#include "wire.h"

#include <algorithm>

namespace exomesh::link_emulator {

namespace {

// Preamble 8, addresses and type 14, checksum 4, gap 12.
constexpr std::size_t ethernet_bytes = 38;
constexpr std::size_t ethernet_payload_bytes_min = 46;

std::int64_t nanoseconds(double microseconds) {
    return static_cast<std::int64_t>(microseconds * 1000);
}

}  // namespace

std::int64_t Line::send(std::int64_t now_ns, std::size_t wire_bytes) {
    if (options.rate_mbit <= 0) return now_ns;
    const double duration_us = static_cast<double>(wire_bytes) * 8 / options.rate_mbit;
    free_ns_ = std::max(free_ns_, now_ns) + nanoseconds(duration_us);
    return free_ns_;
}

std::int64_t Line::backlog_ns(std::int64_t now_ns) const {
    return options.rate_mbit <= 0 ? 0 : std::max<std::int64_t>(free_ns_ - now_ns, 0);
}

bool Path::happens(double probability) {
    return probability > 0 && std::uniform_real_distribution(0.0, 1.0)(random_) < probability;
}

Arrivals Path::pass(std::int64_t sent_ns) {
    Arrivals arrivals;
    if (happens(options.loss)) return arrivals;
    std::int64_t at_ns = sent_ns + nanoseconds(options.delay_us);
    if (options.jitter_us > 0) {
        at_ns += nanoseconds(std::uniform_real_distribution(0.0, options.jitter_us)(random_));
    }
    if (happens(options.straggle)) {
        at_ns += nanoseconds(options.straggle_us);
    } else {
        at_ns = last_ns_ = std::max(at_ns, last_ns_);
    }
    arrivals.at_ns.fill(at_ns);
    arrivals.count = happens(options.duplicate) ? 2 : 1;
    return arrivals;
}

std::size_t wire_bytes_of(std::size_t packet_bytes, std::size_t header_bytes,
                          std::size_t segment_bytes) {
    if (segment_bytes == 0 || packet_bytes <= header_bytes) {
        return std::max(packet_bytes, ethernet_payload_bytes_min) + ethernet_bytes;
    }
    const std::size_t payload_bytes = packet_bytes - header_bytes;
    const std::size_t count = (payload_bytes + segment_bytes - 1) / segment_bytes;
    return payload_bytes + count * (header_bytes + ethernet_bytes);
}

}  // namespace exomesh::link_emulator
