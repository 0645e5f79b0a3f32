#include "runner/clock_alignment.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

namespace exomesh::runner {

namespace {

// Points closer than this would make the interpolated clock run unevenly: of two, the better stays.
constexpr double distance_ns_min = 100e6;
constexpr double distance_in_half_widths_min = 20;

// Exact also where the clocks are so far apart that a double is not.
double difference_ns(std::uint64_t left, std::uint64_t right) {
    return static_cast<double>(static_cast<std::int64_t>(left - right));
}

}  // namespace

bool ClockAlignment::add(const ClockSample& sample) {
    const double whole_ns = difference_ns(sample.answer_received_ns, sample.request_sent_ns);
    const double peers_ns = difference_ns(sample.answer_sent_ns, sample.request_received_ns);
    const double drifted_ns = whole_ns * clock_drift_max;
    if (whole_ns < 0 || peers_ns < 0 || peers_ns > whole_ns + drifted_ns) return false;
    const double forth_ns = difference_ns(sample.request_received_ns, sample.request_sent_ns);
    const double back_ns = difference_ns(sample.answer_sent_ns, sample.answer_received_ns);
    const Point point{.peer_ns = static_cast<double>(sample.answer_sent_ns),
                      .ahead_ns = (forth_ns + back_ns) / 2,
                      .half_width_ns = std::max((whole_ns - peers_ns) / 2, 0.0) + drifted_ns};
    std::size_t kept_count = points_.size();
    for (; kept_count > 0; --kept_count) {
        const Point& last = points_[kept_count - 1];
        const double distance_ns = point.peer_ns - last.peer_ns;
        const double drift_ns = distance_ns * clock_drift_max;
        const double jump_ns_max = last.half_width_ns + point.half_width_ns + drift_ns;
        if (distance_ns < 0 || std::abs(point.ahead_ns - last.ahead_ns) > jump_ns_max) return false;
        const double wider_ns = std::max(last.half_width_ns, point.half_width_ns);
        const bool is_close =
            distance_ns < std::max(distance_ns_min, distance_in_half_widths_min * wider_ns);
        const double tolerated_ns = is_close ? 0 : drift_ns;
        // Each point says something of all moments, less and less of those far from it.
        if (last.half_width_ns + tolerated_ns <= point.half_width_ns) return true;
        if (point.half_width_ns + tolerated_ns > last.half_width_ns) break;
    }
    points_.resize(kept_count);
    if (points_.size() < clock_point_count_max) points_.push_back(point);
    return true;
}

template <typename Value>
double ClockAlignment::interpolate(double peer_ns, Value value_at) const {
    const auto after = std::ranges::upper_bound(points_, peer_ns, {}, &Point::peer_ns);
    if (after == points_.begin()) return value_at(points_.front());
    const Point& before = *std::prev(after);
    if (after == points_.end()) return value_at(before);
    const double weight = (peer_ns - before.peer_ns) / (after->peer_ns - before.peer_ns);
    return std::lerp(value_at(before), value_at(*after), weight);
}

double ClockAlignment::to_own_ns(std::uint64_t peer_ns) const {
    const auto moment_ns = static_cast<double>(peer_ns);
    if (points_.empty()) return moment_ns;
    return moment_ns - interpolate(moment_ns, [](const Point& point) { return point.ahead_ns; });
}

// Each point's own offset is right within its half width, and within that and the drift since at
// another moment; an average of such offsets is right within the same average of these bounds.
double ClockAlignment::uncertainty_ns(std::uint64_t peer_ns) const {
    if (points_.empty()) return std::numeric_limits<double>::infinity();
    const auto moment_ns = static_cast<double>(peer_ns);
    return interpolate(moment_ns, [moment_ns](const Point& point) {
        return point.half_width_ns + std::abs(moment_ns - point.peer_ns) * clock_drift_max;
    });
}

}  // namespace exomesh::runner
