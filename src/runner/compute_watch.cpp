#include "runner/compute_watch.h"

#include <algorithm>
#include <bit>

#include "platform/clock.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t slowest_factor = 10;
constexpr std::uint64_t forgotten_part = 4;
constexpr unsigned position_shift = 8;  // shaders and graphs do not differ below

}  // namespace

void ComputeWatch::begin_step(std::size_t token_count, std::size_t end_position,
                              std::uint64_t now_ns) {
    const auto kind = [](std::size_t number) {
        return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(number)),
                                     kind_count - 1);
    };
    slowest_of_kind_ns_ = &slowest_ns_[kind(token_count)][kind(end_position >> position_shift)];
    slowest_of_step_ns_.store(1, std::memory_order_relaxed);
    const std::uint64_t slowest_ns = *slowest_of_kind_ns_;
    const std::uint64_t limit_ns =
        slowest_ns == 0 ? first_limit_ns
                        : std::min(grace_ns + slowest_factor * slowest_ns, first_limit_ns);
    const bool was_idle = now_ns - step_end_ns_ > idle_ns;
    segment_limit_ns_.store(limit_ns, std::memory_order_relaxed);
    limit_ns_.store(limit_ns + (was_idle ? wake_ns : 0), std::memory_order_release);
    begin_ns_.store(now_ns, std::memory_order_release);
}

void ComputeWatch::end_segment(std::uint64_t now_ns) {
    const std::uint64_t took_ns = now_ns - begin_ns_.exchange(0, std::memory_order_acq_rel);
    if (took_ns > slowest_of_step_ns_.load(std::memory_order_relaxed))
        slowest_of_step_ns_.store(took_ns, std::memory_order_relaxed);
}

bool ComputeWatch::pause(std::uint64_t now_ns) {
    if (begin_ns_.load(std::memory_order_relaxed) == 0) return false;
    end_segment(now_ns);
    return true;
}

void ComputeWatch::resume(std::uint64_t now_ns) {
    limit_ns_.store(segment_limit_ns_.load(std::memory_order_relaxed), std::memory_order_release);
    begin_ns_.store(now_ns, std::memory_order_release);
}

void ComputeWatch::end_step(std::uint64_t now_ns) {
    end_segment(now_ns);
    std::uint64_t& slowest_ns = *slowest_of_kind_ns_;
    slowest_ns = std::max(slowest_of_step_ns_.load(std::memory_order_relaxed),
                          slowest_ns - slowest_ns / forgotten_part);
    step_end_ns_ = now_ns;
}

std::optional<std::uint64_t> ComputeWatch::overdue_ns(std::uint64_t now_ns,
                                                      std::uint64_t page_faults) {
    const std::uint64_t begin_ns = begin_ns_.load(std::memory_order_acquire);
    const std::uint64_t limit_ns = limit_ns_.load(std::memory_order_acquire);
    // Another segment has begun, whose limit this may be: the next look sees it.
    if (begin_ns_.load(std::memory_order_relaxed) != begin_ns) return std::nullopt;
    const bool is_read_in = page_faults != seen_faults_;
    seen_faults_ = page_faults;
    if (begin_ns != seen_begin_ns_) {
        seen_begin_ns_ = begin_ns;
        counted_ns_ = 0;
        last_look_ns_ = begin_ns;
    }
    // A segment may begin after the time of the look was taken.
    const std::uint64_t since_ns = now_ns > last_look_ns_ ? now_ns - last_look_ns_ : 0;
    last_look_ns_ = std::max(now_ns, last_look_ns_);
    counted_ns_ = is_read_in ? 0 : counted_ns_ + std::min(since_ns, look_ns_max);
    if (begin_ns == 0 || counted_ns_ <= limit_ns) return std::nullopt;
    return counted_ns_;
}

ComputePause::ComputePause(ComputeWatch* watch) : watch_(watch) {
    if (watch_ != nullptr && !watch_->pause(platform::monotonic_ns())) watch_ = nullptr;
}

ComputePause::~ComputePause() {
    if (watch_ != nullptr) watch_->resume(platform::monotonic_ns());
}

ComputeScope::ComputeScope(ComputeWatch* watch, std::size_t token_count, std::size_t end_position)
    : watch_(watch) {
    if (watch_ != nullptr) watch_->begin_step(token_count, end_position, platform::monotonic_ns());
}

ComputeScope::~ComputeScope() {
    if (watch_ != nullptr) watch_->end_step(platform::monotonic_ns());
}

}  // namespace exomesh::runner
