// What control links say first: they carry orders and heartbeats, one per worker, and know no plan.
#pragma once

#include "net/frame.h"

namespace exomesh::runner {

enum class ControlRole { head, worker };

[[nodiscard]] inline net::Hello control_hello(ControlRole role) {
    const bool is_head = role == ControlRole::head;
    return {.rank = static_cast<std::uint16_t>(is_head ? 0 : 1),
            .rank_count = 2,
            .plan_text = "control of a worker"};
}

}  // namespace exomesh::runner
