#include "runner/compute_watch.h"

#include <algorithm>
#include <bit>

#include "platform/clock.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t slowest_factor = 20;  // a device that is hot computes as slowly, at once
constexpr std::uint64_t forgotten_part = 16;
constexpr std::size_t exact_token_count_max = 8;  // shaders are compiled for each number up to it
constexpr unsigned position_shift = 8;            // shaders and graphs do not differ below

// 33 and 65 begin kinds: beyond 32 and 64 tokens shaders compute larger tiles.
std::size_t token_kind(std::size_t token_count) {
    if (token_count <= exact_token_count_max) return token_count;
    constexpr auto exact_bits = static_cast<std::size_t>(std::bit_width(exact_token_count_max - 1));
    return exact_token_count_max + static_cast<std::size_t>(std::bit_width(token_count - 1)) -
           exact_bits;
}

std::size_t position_kind(std::size_t position) {
    return static_cast<std::size_t>(std::bit_width(position >> position_shift));
}

}  // namespace

StepExtent extent_of(std::span<const engine::SlotTokens> batch) {
    StepExtent extent;
    std::size_t position_sum = 0;
    for (const engine::SlotTokens& slot : batch) {
        const std::size_t count = slot.tokens.size();
        extent.token_count += count;
        position_sum += count * (slot.first_position + count);
        extent.has_output |= slot.outputs != engine::OutputRows::none;
    }
    if (extent.token_count > 0) extent.position = position_sum / extent.token_count;
    return extent;
}

std::uint64_t ComputeWatch::Kind::limit_ns() const {
    if (step_count == 0) return first_limit_ns;
    const std::uint64_t limit_ns = std::min(grace_ns + slowest_factor * slowest_ns, first_limit_ns);
    return step_count <= settling_count ? std::max(limit_ns, settling_limit_ns) : limit_ns;
}

ComputeWatch::Kind& ComputeWatch::kind_of(const StepExtent& extent) {
    auto& by_tokens = kinds_[extent.has_output ? 1 : 0];
    KindsByPosition& by_position =
        by_tokens[std::min(token_kind(extent.token_count), token_kind_count - 1)];
    return by_position[std::min(position_kind(extent.position), position_kind_count - 1)];
}

void ComputeWatch::begin_step(const StepExtent& extent, std::uint64_t now_ns) {
    kind_ = &kind_of(extent);
    slowest_of_step_ns_.store(0, std::memory_order_relaxed);
    step_limit_ns_.store(kind_->limit_ns(), std::memory_order_relaxed);
    begin_segment(now_ns);
}

void ComputeWatch::begin_segment(std::uint64_t now_ns) {
    const bool was_idle = now_ns - end_ns_.load(std::memory_order_relaxed) > idle_ns;
    const std::uint64_t limit_ns = step_limit_ns_.load(std::memory_order_relaxed);
    limit_ns_.store(limit_ns + (was_idle ? wake_ns : 0), std::memory_order_release);
    begin_ns_.store(now_ns, std::memory_order_release);
}

void ComputeWatch::end_segment(std::uint64_t now_ns) {
    const std::uint64_t took_ns = now_ns - begin_ns_.exchange(0, std::memory_order_acq_rel);
    if (took_ns > slowest_of_step_ns_.load(std::memory_order_relaxed))
        slowest_of_step_ns_.store(took_ns, std::memory_order_relaxed);
    end_ns_.store(now_ns, std::memory_order_relaxed);
}

bool ComputeWatch::pause(std::uint64_t now_ns) {
    if (begin_ns_.load(std::memory_order_relaxed) == 0) return false;
    end_segment(now_ns);
    return true;
}

void ComputeWatch::resume(std::uint64_t now_ns) {
    begin_segment(now_ns);
}

void ComputeWatch::end_step(std::uint64_t now_ns) {
    end_segment(now_ns);
    if (kind_->step_count++ == 0) return;
    const std::uint64_t slowest_ns = kind_->slowest_ns;
    kind_->slowest_ns = std::max(slowest_of_step_ns_.load(std::memory_order_relaxed),
                                 slowest_ns - slowest_ns / forgotten_part);
}

std::optional<std::uint64_t> ComputeWatch::overdue_ns(std::uint64_t now_ns,
                                                      std::uint64_t page_faults,
                                                      std::uint64_t cpu_ns) {
    const std::uint64_t begin_ns = begin_ns_.load(std::memory_order_acquire);
    const std::uint64_t limit_ns = limit_ns_.load(std::memory_order_acquire);
    // Another segment has begun, whose limit this may be: the next look sees it.
    if (begin_ns_.load(std::memory_order_relaxed) != begin_ns) return std::nullopt;
    if (begin_ns != seen_begin_ns_) {
        seen_begin_ns_ = begin_ns;
        counted_ns_ = 0;
        last_look_ns_ = begin_ns;
        seen_cpu_ns_ = cpu_ns;
    }
    // A segment may begin after the time of the look was taken.
    const std::uint64_t since_ns = now_ns > last_look_ns_ ? now_ns - last_look_ns_ : 0;
    last_look_ns_ = std::max(now_ns, last_look_ns_);
    counted_ns_ += std::min(since_ns, look_ns_max);
    const bool has_computed =
        cpu_ns - seen_cpu_ns_ >= std::max(cpu_progress_ns, counted_ns_ / cpu_progress_part);
    if (page_faults != seen_faults_ || has_computed) {
        seen_faults_ = page_faults;
        seen_cpu_ns_ = cpu_ns;
        counted_ns_ = 0;
    }
    if (begin_ns == 0 || counted_ns_ <= limit_ns) return std::nullopt;
    return counted_ns_;
}

ComputePause::ComputePause(ComputeWatch* watch) : watch_(watch) {
    if (watch_ != nullptr && !watch_->pause(platform::monotonic_ns())) watch_ = nullptr;
}

ComputePause::~ComputePause() {
    if (watch_ != nullptr) watch_->resume(platform::monotonic_ns());
}

ComputeScope::ComputeScope(ComputeWatch* watch, const StepExtent& extent) : watch_(watch) {
    if (watch_ != nullptr) watch_->begin_step(extent, platform::monotonic_ns());
}

ComputeScope::~ComputeScope() {
    if (watch_ != nullptr) watch_->end_step(platform::monotonic_ns());
}

}  // namespace exomesh::runner
