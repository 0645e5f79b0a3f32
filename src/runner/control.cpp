#include "runner/control.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t busy_look_ms = 100;

}  // namespace

net::LinkSetup control_setup(const net::TlsContext& tls, ControlRole role,
                             std::vector<net::PeerId> allowed_peers) {
    const bool is_head = role == ControlRole::head;
    net::LinkSetup setup{.tls = tls,
                         .hello = {.rank = static_cast<std::uint16_t>(is_head ? 0 : 1),
                                   .rank_count = 2,
                                   .plan_text = "control of a worker"},
                         .allowed_peers = std::move(allowed_peers)};
    // A worker that waits for the ranks of a session says so to all who come.
    if (is_head) setup.another_session = busy_worker();
    return setup;
}

Error busy_worker() {
    return {ErrorCode::unavailable, "it is busy with another head.",
            "Wait until that one is done, or use another worker."};
}

void tell_failure(net::DataLink& control, const Error& error, net::Deadline deadline) {
    const auto sent =
        control.send(frame_type(MessageType::failure), {encode_failure(error)}, deadline);
    // Who closes with something unread takes back what the other has not read.
    while (sent && control.is_open() && !deadline.passed()) {
        std::ignore = control.receive(deadline);
    }
}

Result<void> await_welcome(net::DataLink& control, net::Deadline deadline) {
    EXO_TRY_ASSIGN(const net::Message answer, control.receive(deadline));
    if (answer.type == frame_type(MessageType::welcome)) return {};
    if (answer.type == frame_type(MessageType::failure)) {
        return std::unexpected(decode_failure(answer.payload));
    }
    return fail(ErrorCode::corrupt_data, "it sent something else than a welcome.",
                "Run the same version of exomesh everywhere.");
}

Result<net::DataLink> call_until_free(const std::function<Result<net::DataLink>()>& call) {
    const auto deadline = net::Deadline::after_ms(busy_ms_max);
    const auto is_busy = [](const Error& error) {  // its name may stand before what it says
        return error.code == ErrorCode::unavailable &&
               error.message.ends_with(busy_worker().message);
    };
    while (true) {
        auto control = call();
        if (control || !is_busy(control.error()) || deadline.passed()) return control;
        std::this_thread::sleep_for(std::chrono::milliseconds(busy_look_ms));
    }
}

Error nameless(const net::DataLink& control, Error error) {
    const std::string& name = control.peer_name();
    if (error.message.starts_with(name + ": ")) error.message.erase(0, name.size() + 2);
    return error;
}

Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error) {
    const std::string& name = control.peer_name();  // "rank 1 (peer, address)"
    error = nameless(control, std::move(error));
    error.message = "rank " + std::to_string(rank) +
                    name.substr(std::min(name.find(" ("), name.size())) + ": " + error.message;
    return error;
}

}  // namespace exomesh::runner
