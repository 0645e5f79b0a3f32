#include "main/worker_supervisor.h"

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "main/terminal.h"
#include "platform/clock.h"
#include "platform/deadline.h"
#include "platform/supervised_child.h"

namespace exomesh::main {

namespace {

constexpr std::uint64_t look_ms = 20;
// To tell its head, and to end what it loads or asks its device.
constexpr std::uint64_t end_ms_max = 3'000;
constexpr std::uint64_t first_line_ms_max = 24ULL * 3600 * 1000;  // whoever started it may stop it

// One life of the runner.
class Life {
  public:
    Life(platform::SupervisedChild child, const InterruptScope& interrupt)
        : child_(std::move(child)), interrupt_(interrupt) {}

    // True once it serves, false where it ended before or is to end.
    bool wait_until_ready() {
        while (interrupt_.count() == 0) {
            if (child_.read_line(platform::Deadline::after_ms(look_ms))) return true;
            if (child_.poll_exit()) return false;
        }
        return false;
    }

    // Where a signal is to end both, it has ended.
    platform::ChildExit wait_until_end() {
        while (interrupt_.count() == 0) {
            if (const auto end = child_.poll_exit()) return *end;
            std::this_thread::sleep_for(std::chrono::milliseconds(look_ms));
        }
        return end();
    }

    platform::ChildExit end() {
        child_.terminate(platform::Deadline::after_ms(end_ms_max));
        return child_.poll_exit().value_or(platform::ChildExit());
    }

  private:
    platform::SupervisedChild child_;
    const InterruptScope& interrupt_;
};

ExitCode give_up(const platform::ChildExit& end) {
    return report({ErrorCode::internal,
                   "the runner ended " + std::to_string(RestartLimit::count_max + 1) +
                       " times within a minute, the last time with " + end.text() + ".",
                   "See above and in the system's log (dmesg) why; `exomesh doctor` tests the "
                   "devices, and a head can choose others with --devices."});
}

}  // namespace

bool RestartLimit::allows(std::uint64_t now_us) {
    while (!ends_us_.empty() && now_us - ends_us_.front() > within_us) ends_us_.pop_front();
    ends_us_.push_back(now_us);
    return ends_us_.size() <= count_max;
}

ExitCode supervise(const RunnerCommand& command) {
    // Whoever reads what on_ready() prints may send a signal at once.
    const InterruptScope interrupt;
    RestartLimit limit;
    bool has_served = false;
    while (true) {
        auto child = platform::SupervisedChild::start({.arguments = command.arguments,
                                                       .first_line_timeout_ms = first_line_ms_max,
                                                       .errors = platform::ChildErrors::passed_on,
                                                       .inherited_descriptor = command.socket});
        if (!child) return report(child.error());
        Life life(*std::move(child), interrupt);
        const bool is_ready = life.wait_until_ready();
        if (is_ready && has_served) print_note("waiting for a head\n");
        if (is_ready && !std::exchange(has_served, true) && !command.on_ready()) {
            life.end();
            return ExitCode::failure;
        }
        const platform::ChildExit end = life.wait_until_end();
        const bool is_crash = end.end != platform::ChildEnd::exited;
        if (interrupt.count() > 0) {
            if (is_crash) print_note("stopped; the runner ended with " + end.text() + "\n");
            return ExitCode::success;
        }
        if (!is_crash && (end.code == 0 || !has_served)) return static_cast<ExitCode>(end.code);
        if (!has_served) {
            return report({ErrorCode::internal,
                           "the runner ended with " + end.text() + " before it could serve.",
                           "`exomesh doctor` tests the devices."});
        }
        if (!limit.allows(platform::monotonic_us())) return give_up(end);
        print_event("the runner ended with " + end.text() + "; starting it again");
    }
}

}  // namespace exomesh::main
