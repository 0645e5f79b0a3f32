// How far another machine's clock is from ours, and how wrong that may be: pure.
//
// From requests and answers as in NTP (Mills, RFC 5905, section 8): we send at t0 and have the
// answer at t3 on our clock, the peer has the request at t1 and answers at t2 on its own. Whatever
// the two ways took, the peer's clock is ahead by ((t1 - t0) + (t2 - t3)) / 2, give or take half of
// what the ways took together. Samples with short ways are best and are kept; between them the
// offset is interpolated, and away from them the error grows with what quartz clocks may drift.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace exomesh::runner {

struct ClockSample {
    std::uint64_t request_sent_ns = 0;      // t0, our clock
    std::uint64_t request_received_ns = 0;  // t1, the peer's
    std::uint64_t answer_sent_ns = 0;       // t2, the peer's
    std::uint64_t answer_received_ns = 0;   // t3, ours
};

// Two quartz clocks, each right within 50 millionths. One that is set meanwhile is not a
// monotonic one.
inline constexpr double clock_drift_max = 100e-6;
inline constexpr std::size_t clock_point_count_max = 4096;  // of the samples that are kept

class ClockAlignment {
  public:
    // False, and nothing is changed, where the times are impossible: the peer's clock jumped, or
    // somebody lies. Samples in the order in which they were taken.
    bool add(const ClockSample& sample);

    [[nodiscard]] bool empty() const { return points_.empty(); }
    [[nodiscard]] std::size_t point_count() const { return points_.size(); }

    // The moment on our clock when the peer's showed `peer_ns`; ascends with it. 0 ahead where no
    // sample is.
    [[nodiscard]] double to_own_ns(std::uint64_t peer_ns) const;
    // How far to_own_ns() may be off, both ways; infinite where no sample is.
    [[nodiscard]] double uncertainty_ns(std::uint64_t peer_ns) const;

  private:
    // When the peer's clock showed peer_ns ours showed ahead_ns less, give or take half_width_ns.
    struct Point {
        double peer_ns = 0;
        double ahead_ns = 0;
        double half_width_ns = 0;
    };
    // A value at peer_ns, interpolated between its values at points.
    template <typename Value>
    [[nodiscard]] double interpolate(double peer_ns, Value value_at) const;

    std::vector<Point> points_;  // ascending
};

}  // namespace exomesh::runner
