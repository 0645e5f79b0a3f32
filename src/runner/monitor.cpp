#include "runner/monitor.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

#include "platform/clock.h"
#include "runner/control.h"
#include "runner/worker.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t monitor_look_ms = 25;
constexpr std::uint64_t second_look_count = 4;
// A dead rank's data link breaks at once, its control link is looked at a moment later.
constexpr std::uint64_t explanation_ms_max = 1200;
// Clocks drift by less than their comparison is wrong in a few rounds.
constexpr std::uint64_t clock_round_count = 4;
constexpr std::uint64_t clock_burst_count = 8;  // at the beginning and the end
constexpr std::uint64_t collect_ms_max = 30'000;
// Reading a large file from a slow disk to check it tells of no progress.
constexpr std::uint64_t loading_still_ms_max = 600'000;

}  // namespace

Monitor::Monitor(std::vector<net::DataLink> controls, std::function<void()> on_failure,
                 std::function<std::string(std::size_t)> explain_loss, Watch watch)
    : controls_(std::move(controls)),
      silent_at_(controls_.size(), net::Deadline::after_ms(silence_ms_max)),
      loading_(controls_.size(), {.still_at = net::Deadline::after_ms(loading_still_ms_max)}),
      losses_(controls_.size()),
      has_answered_(controls_.size()),
      on_failure_(std::move(on_failure)),
      explain_loss_(std::move(explain_loss)),
      watch_(std::move(watch)),
      recorded_(controls_.size()),
      clock_asked_ns_(controls_.size()),
      reports_(controls_.size()),
      thread_([this] { run(); }) {}

void Monitor::end_watch() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

Monitor::~Monitor() {
    end_watch();
    for (net::DataLink& control : controls_) {
        if (!control.is_open()) continue;
        std::ignore =
            control.send(frame_type(MessageType::stop), {}, net::Deadline::after_ms(heartbeat_ms));
    }
}

void Monitor::run() {
    bool may_dial = false;
    for (std::uint64_t round = 0;; ++round) {
        ping_in_time();
        if (look()) break;
        if (!may_dial && std::ranges::all_of(has_answered_, std::identity())) {
            let_all_dial();
            may_dial = true;
        }
        if (watch_.recording == Recording::spans) compare_all_clocks(round);
        if (!wait_a_moment()) return;
    }
    // A rank may have found another one gone before that is seen here.
    const auto is_gone = [](const std::optional<Loss>& loss) {
        return loss && loss->kind == LossKind::gone;
    };
    for (std::uint64_t i = 0; i < second_look_count; ++i) {
        if (std::ranges::any_of(losses_, is_gone)) break;
        if (!wait_a_moment()) return;
        std::ignore = look();
    }
    fail_worst();
}

// By time: a round takes longer where clocks are compared with workers far away.
void Monitor::ping_in_time() {
    if (!next_ping_.passed()) return;
    next_ping_ = net::Deadline::after_ms(heartbeat_ms);
    for (net::DataLink& control : controls_) {
        if (!control.is_open()) continue;
        std::ignore = control.send(frame_type(MessageType::ping), {},
                                   net::Deadline::after_ms(monitor_look_ms));
    }
}

void Monitor::let_all_dial() {
    for (net::DataLink& control : controls_) {
        std::ignore = control.send(frame_type(MessageType::dial), {},
                                   net::Deadline::after_ms(silence_ms_max));
    }
    {
        const std::scoped_lock lock(mutex_);
        is_dialling_ = true;
    }
    changed_.notify_all();
}

bool Monitor::wait_a_moment() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(monitor_look_ms), [&] { return stopping_; });
    return !stopping_;
}

bool Monitor::look() {
    for (std::size_t worker = 0; worker < controls_.size(); ++worker) {
        if (!losses_[worker]) losses_[worker] = attend(worker);
    }
    return std::ranges::any_of(losses_, [](const auto& loss) { return loss.has_value(); });
}

// Takes in what the worker has said since.
std::optional<Monitor::Loss> Monitor::attend(std::size_t worker) {
    net::DataLink& control = controls_[worker];
    // None may keep the monitor for itself.
    const auto deadline = net::Deadline::after_ms(monitor_look_ms);
    while (control.has_incoming() && !deadline.passed()) {
        auto message = control.receive(net::Deadline::after_ms(monitor_look_ms));
        if (!message && control.is_open()) break;  // what came in was none
        if (!message) return Loss{LossKind::gone, std::move(message).error()};
        if (auto loss = take_in(worker, *message)) return loss;
    }
    if (silent_at_[worker].passed()) {
        return Loss{LossKind::gone,
                    {ErrorCode::unavailable,
                     "it has been silent for " + std::to_string(silence_ms_max) + " ms.", ""}};
    }
    if (!has_loaded(worker) && loading_[worker].still_at.passed()) {
        return Loss{
            LossKind::failed,
            {ErrorCode::unavailable,
             "it has loaded nothing for " + std::to_string(loading_still_ms_max / 1000) + " s.",
             "See what it is doing, and restart it."}};
    }
    return std::nullopt;
}

// What has a new progress is not stuck.
void Monitor::note_progress(std::size_t worker, const net::Message& message) {
    float progress = 0;
    if (message.payload.size() != sizeof(progress)) return;
    std::memcpy(&progress, message.payload.data(), sizeof(progress));
    if (!(progress >= 0) || progress == loading_[worker].progress) return;
    loading_[worker] = {.progress = progress,
                        .still_at = net::Deadline::after_ms(loading_still_ms_max)};
    double sum = 0;
    for (const Loading& loading : loading_) sum += std::clamp(loading.progress, 0.0F, 1.0F);
    const std::scoped_lock lock(mutex_);
    progress_ = sum / static_cast<double>(loading_.size());
    changed_.notify_all();
}

std::optional<Monitor::Loss> Monitor::take_in(std::size_t worker, const net::Message& message) {
    const std::uint64_t received_ns = platform::monotonic_ns();
    silent_at_[worker] = net::Deadline::after_ms(silence_ms_max);
    if (message.type == frame_type(MessageType::failure)) {
        Error error = decode_failure(message.payload);
        const bool is_link = error.code == ErrorCode::unavailable;
        return Loss{is_link ? LossKind::found_other_gone : LossKind::failed, std::move(error)};
    }
    if (message.type == frame_type(MessageType::stop)) {
        return Loss{LossKind::gone, {ErrorCode::unavailable, "it was stopped there."}};
    }
    if (message.type == frame_type(MessageType::ready)) {
        auto report = decode_ready_report(message.payload);
        if (!report) return Loss{LossKind::failed, std::move(report).error()};
        const std::scoped_lock lock(mutex_);
        reports_[worker] = *std::move(report);
        changed_.notify_all();
        return std::nullopt;
    }
    has_answered_[worker] = true;
    if (message.type == frame_type(MessageType::progress)) note_progress(worker, message);
    auto taken = take_recorded(worker, message, received_ns);
    if (!taken) return Loss{LossKind::failed, std::move(taken).error()};
    return std::nullopt;
}

Result<void> Monitor::take_recorded(std::size_t worker, const net::Message& message,
                                    std::uint64_t received_ns) {
    if (watch_.recording == Recording::nothing) return {};
    RecordedSpans& recorded = recorded_[worker];
    if (message.type == frame_type(MessageType::figures)) {
        EXO_TRY_ASSIGN(const auto figures, decode_figures(message.payload));
        return watch_.on_figures ? watch_.on_figures(worker + 1, figures) : Result<void>();
    }
    if (message.type == frame_type(MessageType::clock_answer)) {
        EXO_TRY_ASSIGN(ClockSample sample, decode_clock_answer(message.payload));
        if (clock_asked_ns_[worker] != sample.request_sent_ns) return {};  // not the one asked for
        clock_asked_ns_[worker].reset();
        sample.answer_received_ns = received_ns;
        // What cannot be says nothing of the clock; its uncertainty goes on growing.
        std::ignore = recorded.clock.add(sample);
        return {};
    }
    if (message.type != frame_type(MessageType::span_report)) return {};
    EXO_TRY_ASSIGN(const SpanReport report, decode_span_report(message.payload));
    recorded.is_complete = report.is_last;
    recorded.dropped_count = report.dropped_count;
    if (recorded.spans.size() + report.spans.size() > platform::trace_span_count_max)
        return fail(ErrorCode::corrupt_data, "it recorded more than it can.");
    recorded.spans.insert(recorded.spans.end(), report.spans.begin(), report.spans.end());
    return {};
}

bool Monitor::has_loaded(std::size_t worker) {
    const std::scoped_lock lock(mutex_);
    return reports_[worker].has_value();
}

bool Monitor::compare_clocks(std::size_t worker) {
    net::DataLink& control = controls_[worker];
    if (!control.is_open() || losses_[worker] || !has_loaded(worker)) return false;
    const auto deadline = net::Deadline::after_ms(monitor_look_ms);
    if (!clock_asked_ns_[worker]) {  // else an answer from far away is still to come
        clock_asked_ns_[worker] = platform::monotonic_ns();
        if (!control.send(frame_type(MessageType::clock_request),
                          {encode_clock_request(*clock_asked_ns_[worker])}, deadline)) {
            return false;
        }
    }
    while (clock_asked_ns_[worker] && !losses_[worker] && !deadline.passed()) {
        const auto message = control.receive(deadline);
        if (!message) return false;  // attend() finds out why
        losses_[worker] = take_in(worker, *message);
    }
    return !clock_asked_ns_[worker];
}

void Monitor::compare_all_clocks(std::uint64_t round) {
    for (std::size_t worker = 0; worker < controls_.size(); ++worker) {
        if (recorded_[worker].clock.empty()) {
            std::uint64_t left = clock_burst_count;
            while (left > 0 && compare_clocks(worker)) --left;
        } else if (clock_asked_ns_[worker] || round % clock_round_count == 0) {
            std::ignore = compare_clocks(worker);
        }
    }
}

void Monitor::collect_from(std::size_t worker, std::uint32_t step_count, net::Deadline deadline) {
    net::DataLink& control = controls_[worker];
    for (std::uint64_t i = 0; i < clock_burst_count && !deadline.passed(); ++i) {
        if (watch_.recording == Recording::spans) std::ignore = compare_clocks(worker);
        ping_in_time();
    }
    const auto sent = control.send(frame_type(MessageType::take_recorded),
                                   {encode_take_recorded(step_count)}, deadline);
    while (sent && control.is_open() && !losses_[worker] && !recorded_[worker].is_complete) {
        if (deadline.passed()) return;
        ping_in_time();
        const auto message = control.receive(next_ping_.or_sooner(deadline));
        if (message) losses_[worker] = take_in(worker, *message);
    }
}

std::vector<RecordedSpans> Monitor::collect(std::uint32_t step_count) {
    end_watch();
    const auto deadline = net::Deadline::after_ms(collect_ms_max);
    const bool has_failed =
        std::ranges::any_of(losses_, [](const auto& loss) { return loss.has_value(); });
    for (std::size_t worker = 0; worker < controls_.size() && !has_failed; ++worker) {
        if (controls_[worker].is_open()) collect_from(worker, step_count, deadline);
    }
    return std::move(recorded_);
}

void Monitor::fail_worst() {
    const auto worst = std::ranges::min_element(losses_, {}, [](const std::optional<Loss>& loss) {
        return loss ? static_cast<int>(loss->kind) : std::numeric_limits<int>::max();
    });
    const auto worker = static_cast<std::size_t>(worst - losses_.begin());
    const std::size_t rank = worker + 1;
    Error error = (*worst)->error;
    if (const std::string reason = explain_loss_ ? explain_loss_(rank) : ""; !reason.empty())
        error.message = reason;
    error = error_of_worker(rank, controls_[worker], std::move(error));
    // Whatever happened to it inside: here a rank is missing.
    if (error.code == ErrorCode::internal) error.code = ErrorCode::unavailable;
    {
        const std::scoped_lock lock(mutex_);
        failure_ = std::move(error);
    }
    changed_.notify_all();
    on_failure_();
}

Result<void> Monitor::wait_until_dialling() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || is_dialling_; });
    if (failure_) return std::unexpected(*failure_);
    return {};
}

Result<std::vector<ReadyReport>> Monitor::wait_until_ready(
    const std::function<void(double)>& on_progress) {
    std::unique_lock lock(mutex_);
    const auto is_ready = [](const auto& report) { return report.has_value(); };
    double told = 0;
    const auto is_over = [&] { return failure_ || std::ranges::all_of(reports_, is_ready); };
    while (!is_over()) {
        changed_.wait(lock, [&] { return is_over() || progress_ != told; });
        if (std::exchange(told, progress_) == progress_ || !on_progress) continue;
        lock.unlock();
        on_progress(told);
        lock.lock();
    }
    if (failure_) return std::unexpected(*failure_);
    std::vector<ReadyReport> reports;
    for (const auto& report : reports_) reports.push_back(*report);
    return reports;
}

std::optional<Error> Monitor::failure() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(explanation_ms_max),
                      [&] { return failure_.has_value(); });
    return failure_;
}

std::optional<Error> Monitor::known_failure() {
    const std::scoped_lock lock(mutex_);
    return failure_;
}

}  // namespace exomesh::runner
