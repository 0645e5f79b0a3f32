#include "runner/thread_runner_host.h"

#include <chrono>
#include <utility>

namespace exomesh::runner {

namespace {

constexpr const char* local_host = "127.0.0.1";
constexpr std::uint64_t end_ms_max = 2000;  // for a runner whose head has gone
constexpr std::uint64_t explain_ms_max = 100;

void wait_for(const std::atomic<bool>& has_ended, std::uint64_t ms_max) {
    const auto deadline = platform::Deadline::after_ms(ms_max);
    while (!has_ended && !deadline.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
}

}  // namespace

Result<void> ThreadRunnerHost::start(std::uint32_t count, const net::PeerId& head) {
    stop();
    for (std::uint32_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(net::Identity identity, net::Identity::generate());
        EXO_TRY_ASSIGN(Worker worker, Worker::create({.identity = std::move(identity),
                                                      .allowed_heads = {head},
                                                      .host = local_host,
                                                      .port = 0,
                                                      .on_event = {}}));
        addresses_.push_back(
            {.host = local_host, .port = worker.port(), .peer_id = worker.peer_id()});
        auto created = std::make_unique<Runner>(std::move(worker));
        Runner& runner = *created;
        runner.thread = std::thread([&runner] {
            runner.result = runner.worker.serve_one();
            runner.has_ended = true;
        });
        const std::scoped_lock lock(mutex_);
        runners_.push_back(std::move(created));
    }
    return {};
}

void ThreadRunnerHost::stop() {
    for (const auto& runner : runners_) runner->worker.stop();
    for (const auto& runner : runners_) {
        if (runner->thread.joinable()) runner->thread.join();
    }
    addresses_.clear();
    const std::scoped_lock lock(mutex_);
    runners_.clear();
}

std::string ThreadRunnerHost::explain_loss(std::size_t runner) {
    const std::scoped_lock lock(mutex_);
    if (runner >= runners_.size()) return "";
    const Runner& lost = *runners_[runner];
    wait_for(lost.has_ended, explain_ms_max);
    return lost.has_ended && !lost.result ? lost.result.error().text() : "";
}

Result<void> ThreadRunnerHost::join(std::size_t runner) {
    Runner& ended = *runners_[runner];
    if (ended.thread.joinable()) {
        wait_for(ended.has_ended, end_ms_max);
        ended.worker.stop();
        ended.thread.join();
    }
    return ended.result;
}

}  // namespace exomesh::runner
