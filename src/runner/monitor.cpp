#include "runner/monitor.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "runner/worker.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t look_ms = 50;
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
    std::uint64_t round = 0;
    while (true) {
        for (std::size_t worker = 0; worker < controls_.size(); ++worker) {
            if (round % (heartbeat_ms / look_ms) == 0) {
                std::ignore = controls_[worker].send(frame_type(MessageType::ping), {},
                                                     net::Deadline::after_ms(look_ms));
            }
            if (auto attended = attend(worker); !attended) {
                fail_rank(worker, std::move(attended).error());
                return;
            }
        }
        ++round;
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(look_ms), [&] { return stopping_; });
        if (stopping_) return;
    }
}

// Takes in what the worker has said since.
Result<void> Monitor::attend(std::size_t worker) {
    net::DataLink& control = controls_[worker];
    while (control.has_incoming()) {
        EXO_TRY_ASSIGN(const net::Message message,
                       control.receive(net::Deadline::after_ms(look_ms)));
        silent_at_[worker] = net::Deadline::after_ms(silence_ms_max);
        if (message.type == frame_type(MessageType::failure)) {
            return std::unexpected(decode_failure(message.payload));
        }
        if (message.type != frame_type(MessageType::ready)) continue;
        EXO_TRY_ASSIGN(ReadyReport report, decode_ready_report(message.payload));
        const std::scoped_lock lock(mutex_);
        reports_[worker] = std::move(report);
        changed_.notify_all();
    }
    if (!silent_at_[worker].passed()) return {};
    return fail(ErrorCode::unavailable,
                "has been silent for " + std::to_string(silence_ms_max) + " ms.");
}

void Monitor::fail_rank(std::size_t worker, Error error) {
    const std::size_t rank = worker + 1;
    const std::string reason = explain_loss_ ? explain_loss_(rank) : "";
    if (!reason.empty()) error.message = reason;
    error.message = "rank " + std::to_string(rank) + ": " + error.message;
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
