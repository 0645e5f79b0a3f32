#include "runner/worker_recording.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <tuple>
#include <utility>

#include "platform/clock.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t tell_ms_max = 5000;
// The head has the last logits a moment before the worker's own step is over.
constexpr std::uint64_t last_steps_ms_max = 500;

std::uint32_t to_u32(std::uint64_t value) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, UINT32_MAX));
}

}  // namespace

WorkerRecording::WorkerRecording(Recording recording) {
    if (recording == Recording::nothing) return;
    recorder_.emplace(recording == Recording::spans ? platform::trace_span_count_max : 0);
}

void WorkerRecording::begin() {
    platform::record_this_thread(recorder_ ? &*recorder_ : nullptr);
}

void WorkerRecording::end_step(std::uint32_t step, const Links& links) {
    if (!recorder_) return;
    StepFigures figures = within_total(take_figures(*recorder_));
    const Links::Traffic before = std::exchange(traffic_, links.traffic());
    figures.step = step;
    figures.sent_bytes = to_u32(traffic_.sent_bytes - before.sent_bytes);
    figures.received_bytes = to_u32(traffic_.received_bytes - before.received_bytes);
    {
        const std::scoped_lock lock(mutex_);
        if (figures_.size() < figures_waiting_max) figures_.push_back(figures);
    }
    step_count_ = step + 1;
}

void WorkerRecording::end_other(const Links& links) {
    if (!recorder_) return;
    std::ignore = recorder_->take_totals();
    traffic_ = links.traffic();
}

std::vector<StepFigures> WorkerRecording::take_some_figures() {
    const std::scoped_lock lock(mutex_);
    const auto end = figures_.begin() + static_cast<std::ptrdiff_t>(
                                            std::min(figures_.size(), figures_per_message_max));
    std::vector<StepFigures> some(figures_.begin(), end);
    figures_.erase(figures_.begin(), end);
    return some;
}

Result<void> WorkerRecording::tell_figures(net::DataLink& control) {
    if (!recorder_) return {};
    while (true) {
        const std::vector<StepFigures> some = take_some_figures();
        if (some.empty()) return {};
        EXO_TRY(control.send(frame_type(MessageType::figures), {encode_figures(some)},
                             net::Deadline::after_ms(tell_ms_max)));
    }
}

Result<void> WorkerRecording::tell_all(net::DataLink& control, std::uint32_t step_count) {
    const auto deadline = net::Deadline::after_ms(last_steps_ms_max);
    while (step_count_ < step_count && !deadline.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXO_TRY(tell_figures(control));
    SpanReport report;
    while (!report.is_last) {
        if (recorder_) {
            report.spans = recorder_->take(spans_per_message_max);
            report.dropped_count = recorder_->dropped_count();
        }
        report.is_last = report.spans.size() < spans_per_message_max;
        EXO_TRY(control.send(frame_type(MessageType::span_report), {encode_span_report(report)},
                             net::Deadline::after_ms(tell_ms_max)));
    }
    return {};
}

Result<void> WorkerRecording::answer(net::DataLink& control, const net::Message& message,
                                     std::uint64_t received_ns) {
    if (message.type == frame_type(MessageType::take_recorded)) {
        EXO_TRY_ASSIGN(const std::uint32_t step_count, decode_take_recorded(message.payload));
        return tell_all(control, step_count);
    }
    if (message.type != frame_type(MessageType::clock_request)) return {};
    EXO_TRY_ASSIGN(const std::uint64_t sent_ns, decode_clock_request(message.payload));
    const ClockSample sample{.request_sent_ns = sent_ns,
                             .request_received_ns = received_ns,
                             .answer_sent_ns = platform::monotonic_ns()};
    return control.send(frame_type(MessageType::clock_answer), {encode_clock_answer(sample)},
                        net::Deadline::after_ms(tell_ms_max));
}

}  // namespace exomesh::runner
