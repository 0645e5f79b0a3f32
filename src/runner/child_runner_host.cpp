#include "runner/child_runner_host.h"

#include <chrono>
#include <thread>
#include <utility>

namespace exomesh::runner {

namespace {

constexpr std::uint64_t start_ms_max = 20'000;
constexpr std::uint64_t exit_ms_max = 100;

}  // namespace

Result<void> ChildRunnerHost::start(std::uint32_t count, const net::PeerId& head) {
    stop();
    std::vector<platform::SupervisedChild> children;
    std::vector<WorkerAddress> addresses;
    for (std::uint32_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(platform::SupervisedChild child,
                       platform::SupervisedChild::start(
                           {.arguments = {program_, "worker", "--listen", "127.0.0.1:0", "--allow",
                                          head.text(), "--once", "--new-identity"},
                            .first_line_timeout_ms = start_ms_max}));
        children.push_back(std::move(child));
    }
    for (platform::SupervisedChild& child : children) {
        auto line = child.read_line(platform::Deadline::after_ms(start_ms_max));
        if (!line) {
            Error error = std::move(line).error();
            error.message = "a process for a rank did not start: " + error.message;
            return std::unexpected(std::move(error));
        }
        EXO_TRY_ASSIGN(WorkerAddress address, parse_announcement(*line));
        addresses.push_back(std::move(address));
    }
    addresses_ = std::move(addresses);
    const std::scoped_lock lock(mutex_);
    children_ = std::move(children);
    return {};
}

void ChildRunnerHost::stop() {
    addresses_.clear();
    const std::scoped_lock lock(mutex_);
    children_.clear();
}

std::string ChildRunnerHost::explain_loss(std::size_t runner) {
    const std::scoped_lock lock(mutex_);
    if (runner >= children_.size()) return "";
    platform::SupervisedChild& child = children_[runner];
    auto end = child.poll_exit();
    // Its links break a moment before the system can tell how it ended.
    const auto deadline = platform::Deadline::after_ms(exit_ms_max);
    while (!end && !deadline.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        end = child.poll_exit();
    }
    if (!end) return "";
    std::string text = "its process ended with " + end->text() + ".";
    if (const std::string errors = child.errors(); !errors.empty()) text += "\n" + errors;
    return text;
}

}  // namespace exomesh::runner
