#include "runner/monitor.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "runner/control.h"
#include "runner/worker.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t look_ms = 25;
constexpr std::uint64_t second_look_count = 4;
// A dead rank's data link breaks at once, its control link is looked at a moment later.
constexpr std::uint64_t explanation_ms_max = 1200;

net::FrameType frame_type(MessageType type) {
    return static_cast<net::FrameType>(type);
}

}  // namespace

Monitor::Monitor(std::vector<net::DataLink> controls, std::function<void()> on_failure,
                 std::function<std::string(std::size_t)> explain_loss)
    : controls_(std::move(controls)),
      silent_at_(controls_.size(), net::Deadline::after_ms(silence_ms_max)),
      losses_(controls_.size()),
      on_failure_(std::move(on_failure)),
      explain_loss_(std::move(explain_loss)),
      reports_(controls_.size()),
      thread_([this] { run(); }) {}

Monitor::~Monitor() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
    for (net::DataLink& control : controls_) {
        if (!control.is_open()) continue;
        std::ignore =
            control.send(frame_type(MessageType::stop), {}, net::Deadline::after_ms(heartbeat_ms));
    }
}

void Monitor::run() {
    for (std::uint64_t round = 0;; ++round) {
        for (net::DataLink& control : controls_) {
            if (round % (heartbeat_ms / look_ms) != 0 || !control.is_open()) continue;
            std::ignore =
                control.send(frame_type(MessageType::ping), {}, net::Deadline::after_ms(look_ms));
        }
        if (look()) break;
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

bool Monitor::wait_a_moment() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(look_ms), [&] { return stopping_; });
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
    while (control.has_incoming()) {
        auto message = control.receive(net::Deadline::after_ms(look_ms));
        if (!message && control.is_open()) break;  // what came in was none
        if (!message) return Loss{LossKind::gone, std::move(message).error()};
        silent_at_[worker] = net::Deadline::after_ms(silence_ms_max);
        if (message->type == frame_type(MessageType::failure)) {
            Error error = decode_failure(message->payload);
            const bool is_link = error.code == ErrorCode::unavailable;
            return Loss{is_link ? LossKind::found_other_gone : LossKind::failed, std::move(error)};
        }
        if (message->type == frame_type(MessageType::stop)) {
            return Loss{LossKind::gone, {ErrorCode::unavailable, "it was stopped there."}};
        }
        if (message->type != frame_type(MessageType::ready)) continue;
        auto report = decode_ready_report(message->payload);
        if (!report) return Loss{LossKind::failed, std::move(report).error()};
        const std::scoped_lock lock(mutex_);
        reports_[worker] = *std::move(report);
        changed_.notify_all();
    }
    if (!silent_at_[worker].passed()) return std::nullopt;
    return Loss{LossKind::gone,
                {ErrorCode::unavailable,
                 "it has been silent for " + std::to_string(silence_ms_max) + " ms.", ""}};
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
    {
        const std::scoped_lock lock(mutex_);
        failure_ = std::move(error);
    }
    changed_.notify_all();
    on_failure_();
}

Result<std::vector<ReadyReport>> Monitor::wait_until_ready() {
    std::unique_lock lock(mutex_);
    const auto is_ready = [](const auto& report) { return report.has_value(); };
    changed_.wait(lock, [&] { return failure_ || std::ranges::all_of(reports_, is_ready); });
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

}  // namespace exomesh::runner
