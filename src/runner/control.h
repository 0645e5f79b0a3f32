// What control links say first, and how their errors name workers: they carry orders and
// heartbeats, one per worker, and know no plan.
#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "net/peer_id.h"
#include "net/tls_context.h"

namespace exomesh::runner {

enum class ControlRole { head, worker };

[[nodiscard]] net::LinkSetup control_setup(const net::TlsContext& tls, ControlRole role,
                                           std::vector<net::PeerId> allowed_peers);

// What a head gets that is not the worker's.
[[nodiscard]] Error busy_worker();

// Tells the other side why it is over, and stays until it has gone or the deadline has passed.
void tell_failure(net::DataLink& control, const Error& error, net::Deadline deadline);

// The head: whether the worker it has connected to is its own, and waits for orders. unavailable
// where it has another head.
[[nodiscard]] Result<void> await_welcome(net::DataLink& control, net::Deadline deadline);

// To a control link, every worker is rank 1: its error without that name, for who adds another.
[[nodiscard]] Error nameless(const net::DataLink& control, Error error);

// An error of the control link to this rank.
[[nodiscard]] Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error);

}  // namespace exomesh::runner
