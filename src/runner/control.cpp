#include "runner/control.h"

#include <algorithm>
#include <string>

namespace exomesh::runner {

net::Hello control_hello(ControlRole role) {
    const bool is_head = role == ControlRole::head;
    return {.rank = static_cast<std::uint16_t>(is_head ? 0 : 1),
            .rank_count = 2,
            .plan_text = "control of a worker"};
}

Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error) {
    const std::string& name = control.peer_name();  // "rank 1 (peer, address)"
    if (error.message.starts_with(name + ": ")) error.message.erase(0, name.size() + 2);
    error.message = "rank " + std::to_string(rank) +
                    name.substr(std::min(name.find(" ("), name.size())) + ": " + error.message;
    return error;
}

}  // namespace exomesh::runner
