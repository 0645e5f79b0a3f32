// What control links say first, and how their errors name workers: they carry orders and
// heartbeats, one per worker, and know no plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
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

// What `call` returns, which connects to a worker and awaits its welcome. It is called again while
// the worker is busy, for at most so long: the session that keeps it may be the last one of this
// very head, which opens its cluster anew or runs again at once.
inline constexpr std::uint64_t busy_ms_max = 5000;
[[nodiscard]] Result<net::DataLink> call_until_free(
    const std::function<Result<net::DataLink>()>& call);

// To a control link, every worker is rank 1: its error without that name, for who adds another.
[[nodiscard]] Error nameless(const net::DataLink& control, Error error);

// An error of the control link to this rank.
[[nodiscard]] Error error_of_worker(std::size_t rank, const net::DataLink& control, Error error);

}  // namespace exomesh::runner
