#include "runner/testing/thread_workers.h"

#include <chrono>
#include <utility>

#include "base/assert.h"
#include "net/data_link.h"
#include "runner/control.h"

namespace exomesh::runner::testing {

namespace {

constexpr std::uint64_t end_ms_max = 2000;  // for a worker whose head has gone

}  // namespace

ThreadWorkers::ThreadWorkers(std::size_t count, const net::Identity& head) : head_(head) {
    for (std::size_t i = 0; i < count; ++i) {
        auto identity = net::Identity::generate();
        EXO_ASSERT(identity.has_value());
        auto worker = Worker::create({.identity = *identity,
                                      .allowed_heads = {head.peer_id()},
                                      .host = "127.0.0.1",
                                      .port = 0,
                                      .on_event = {}});
        EXO_ASSERT(worker.has_value());
        addresses_.push_back(
            {.host = "127.0.0.1", .port = worker->port(), .peer_id = worker->peer_id()});
        served_.push_back(std::make_unique<Served>(*std::move(worker)));
        Served& served = *served_.back();
        served.thread = std::thread([&served] {
            served.result = served.worker.serve_one();
            served.has_ended = true;
        });
    }
}

ThreadWorkers::~ThreadWorkers() {
    for (std::size_t i = 0; i < served_.size(); ++i) std::ignore = join(i);
}

Result<void> ThreadWorkers::join(std::size_t worker) {
    Served& served = *served_[worker];
    if (served.thread.joinable()) {
        const auto deadline = net::Deadline::after_ms(end_ms_max);
        while (!served.has_ended && !deadline.passed()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        if (!served.has_ended) send_home(addresses_[worker]);
        served.thread.join();
    }
    return served.result;
}

// A head that goes again at once. Where the worker has one, this waits in the listener's queue for
// nothing.
void ThreadWorkers::send_home(const WorkerAddress& address) {
    const auto tls = net::TlsContext::create(head_);
    EXO_ASSERT(tls.has_value());
    const net::LinkSetup setup{
        .tls = *tls, .hello = control_hello(ControlRole::head), .allowed_peers = {address.peer_id}};
    std::ignore =
        net::DataLink::connect(address.host, address.port, setup, net::Deadline::after_ms(500));
}

}  // namespace exomesh::runner::testing
