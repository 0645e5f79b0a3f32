// What control links say first, and how their errors name workers: they carry orders and
// heartbeats, one per worker, and know no plan.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "net/data_link.h"
#include "net/frame.h"

namespace exomesh::runner {

enum class ControlRole { head, worker };

[[nodiscard]] net::Hello control_hello(ControlRole role);

// The head: whether the worker it has connected to is its own, and waits for orders. unavailable
// where it has another head.
[[nodiscard]] Result<void> await_welcome(net::DataLink& control, net::Deadline deadline);

// An error of the control link to this rank: to the link, every worker is rank 1.
[[nodiscard]] Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error);

}  // namespace exomesh::runner
