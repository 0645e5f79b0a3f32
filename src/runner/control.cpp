#include "runner/control.h"

#include <algorithm>
#include <string>

#include "runner/messages.h"

namespace exomesh::runner {

net::Hello control_hello(ControlRole role) {
    const bool is_head = role == ControlRole::head;
    return {.rank = static_cast<std::uint16_t>(is_head ? 0 : 1),
            .rank_count = 2,
            .plan_text = "control of a worker"};
}

Result<void> await_welcome(net::DataLink& control, net::Deadline deadline) {
    EXO_TRY_ASSIGN(const net::Message answer, control.receive(deadline));
    if (answer.type == static_cast<net::FrameType>(MessageType::welcome)) return {};
    if (answer.type == static_cast<net::FrameType>(MessageType::failure)) {
        return std::unexpected(decode_failure(answer.payload));
    }
    return fail(ErrorCode::corrupt_data, "it sent something else than a welcome.",
                "Run the same version of exomesh everywhere.");
}

Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error) {
    const std::string& name = control.peer_name();  // "rank 1 (peer, address)"
    if (error.message.starts_with(name + ": ")) error.message.erase(0, name.size() + 2);
    error.message = "rank " + std::to_string(rank) +
                    name.substr(std::min(name.find(" ("), name.size())) + ": " + error.message;
    return error;
}

}  // namespace exomesh::runner
