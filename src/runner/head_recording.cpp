#include "runner/head_recording.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "platform/clock.h"

namespace exomesh::runner {

HeadRecording::HeadRecording(std::size_t rank_count, std::function<void(const StepReport&)> on_step)
    : figures_(rank_count, std::move(on_step)), recorder_(platform::recorder_of_this_thread()) {
    if (recorder_ != nullptr) return;
    recorder_ = &own_recorder_;
    platform::record_this_thread(recorder_);
}

HeadRecording::~HeadRecording() {
    if (recorder_ == &own_recorder_) platform::record_this_thread(nullptr);
}

void HeadRecording::begin_step(std::uint32_t step, std::span<const engine::SlotTokens> batch,
                               const Links& links) {
    std::ignore = recorder_->take_totals();  // what lies between steps is part of none
    traffic_ = links.traffic();
    const bool is_prompt = std::ranges::any_of(batch, [](const engine::SlotTokens& slot) {
        return slot.tokens.size() > 1 || slot.outputs == engine::OutputRows::none;
    });
    figures_.begin_step(step, static_cast<std::uint32_t>(engine::token_count(batch)), is_prompt);
    running_.push_back({.figures = {.step = step}, .begin_ns = platform::monotonic_ns()});
}

void HeadRecording::add_to(StepFigures& figures, const Links& links) {
    const StepFigures added = take_figures(*recorder_);
    figures.compute_us += added.compute_us;
    figures.sum_us += added.sum_us;
    figures.wait_us += added.wait_us;
    const Links::Traffic before = std::exchange(traffic_, links.traffic());
    figures.sent_bytes += static_cast<std::uint32_t>(traffic_.sent_bytes - before.sent_bytes);
    figures.received_bytes +=
        static_cast<std::uint32_t>(traffic_.received_bytes - before.received_bytes);
}

void HeadRecording::started(const Links& links) {
    add_to(running_.back().figures, links);
}

void HeadRecording::failed() {
    running_.pop_back();
}

void HeadRecording::finished(const Links& links) {
    Running step = running_.front();
    running_.pop_front();
    add_to(step.figures, links);
    const std::uint64_t now_ns = platform::monotonic_ns();
    const std::uint64_t oldest_since_ns = std::max(step.begin_ns, last_finish_ns_);
    last_finish_ns_ = now_ns;
    step.figures.total_us = static_cast<std::uint32_t>((now_ns - step.begin_ns) / 1000);
    figures_.end_step(step.figures.step,
                      static_cast<std::uint32_t>((now_ns - oldest_since_ns) / 1000));
    std::ignore =
        figures_.add(0, within_total(step.figures));  // it began here, and is told of here alone
}

}  // namespace exomesh::runner
