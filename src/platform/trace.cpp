#include "platform/trace.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace exomesh::platform {

std::string_view span_name(SpanKind kind) {
    switch (kind) {
        case SpanKind::step:
            return "step";
        case SpanKind::order:
            return "tell ranks";
        case SpanKind::idle:
            return "wait for order";
        case SpanKind::inputs:
            return "inputs";
        case SpanKind::compute:
            return "compute";
        case SpanKind::sum:
            return "sum";
        case SpanKind::encode:
            return "encode";
        case SpanKind::send:
            return "send";
        case SpanKind::wait:
            return "wait";
        case SpanKind::decode:
            return "decode";
        case SpanKind::states_in:
            return "states in";
        case SpanKind::states_out:
            return "states out";
        case SpanKind::logits_in:
            return "logits in";
        case SpanKind::logits_out:
            return "logits out";
        case SpanKind::sample:
            return "sample";
        case SpanKind::copy_slot:
            return "copy slot";
    }
    return "unknown";
}

void record_this_thread(TraceRecorder* recorder) {
    detail::recorder_of_thread = recorder;
}

void TraceRecorder::begin_step(std::uint32_t step) {
    step_ = step;
    next_step_ = step + 1;
    part_ = 0;
}

void TraceRecorder::record(TraceSpan span) {
    span.step = step_;
    span.part = part_;
    totals_[static_cast<std::size_t>(span.kind)] += span.end_ns - span.begin_ns;
    if (spans_.empty()) return;
    const std::size_t written = written_.load(std::memory_order_relaxed);
    if (written - taken_.load(std::memory_order_acquire) == spans_.size()) {
        dropped_count_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    spans_[written % spans_.size()] = span;
    written_.store(written + 1, std::memory_order_release);
}

void TraceRecorder::end_compute(std::uint64_t now_ns) {
    record({.begin_ns = std::exchange(compute_begin_ns_, 0),
            .end_ns = now_ns,
            .kind = SpanKind::compute});
}

SpanTotals TraceRecorder::take_totals() {
    return std::exchange(totals_, {});
}

std::vector<TraceSpan> TraceRecorder::take(std::size_t count_max) {
    const std::size_t taken = taken_.load(std::memory_order_relaxed);
    const std::size_t count = std::min(written_.load(std::memory_order_acquire) - taken, count_max);
    std::vector<TraceSpan> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = spans_[(taken + i) % spans_.size()];
    taken_.store(taken + count, std::memory_order_release);
    return out;
}

void TraceScope::begin(SpanKind kind, std::size_t amount, std::uint16_t peer) {
    start(monotonic_ns(), kind, amount, peer);
}

void TraceScope::change(SpanKind kind, std::size_t amount, std::uint16_t peer) {
    const std::uint64_t now_ns = monotonic_ns();
    end(now_ns);
    start(now_ns, kind, amount, peer);
}

void TraceScope::start(std::uint64_t now_ns, SpanKind kind, std::size_t amount,
                       std::uint16_t peer) {
    constexpr std::size_t amount_max = std::numeric_limits<std::uint32_t>::max();
    span_ = {.begin_ns = now_ns,
             .amount = static_cast<std::uint32_t>(std::min(amount, amount_max)),
             .peer = peer,
             .kind = kind};
    interrupts_ = kind == SpanKind::sum && recorder_->computes();
    if (interrupts_) recorder_->end_compute(now_ns);
    if (kind == SpanKind::compute) recorder_->begin_compute(now_ns);
}

void TraceScope::end(std::uint64_t now_ns) {
    if (span_.kind == SpanKind::compute) {
        recorder_->end_compute(now_ns);
        return;
    }
    span_.end_ns = now_ns;
    recorder_->record(span_);
    if (span_.kind == SpanKind::sum) recorder_->next_part();
    if (interrupts_) recorder_->begin_compute(now_ns);
}

}  // namespace exomesh::platform
