// Where a worker is and who: as people type it, and as a worker says it of itself. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/peer_id.h"

namespace exomesh::runner {

struct WorkerAddress {
    std::string host;
    std::uint16_t port = 0;
    net::PeerId peer_id;
};

// Whether the host is this machine, as its text says.
[[nodiscard]] bool is_loopback(std::string_view host);

// HOST:PORT/PEERID, HOST a name or an address (IPv6 in brackets). invalid_argument otherwise.
[[nodiscard]] Result<WorkerAddress> parse_worker_address(std::string_view text);

[[nodiscard]] std::string address_text(std::string_view host, std::uint16_t port,
                                       const net::PeerId& peer_id);

// What a worker prints when it can be reached, for people and for whoever started it:
// "worker listens on HOST:PORT/PEERID".
[[nodiscard]] std::string announcement(std::string_view host, std::uint16_t port,
                                       const net::PeerId& peer_id);
[[nodiscard]] Result<WorkerAddress> parse_announcement(std::string_view line);

}  // namespace exomesh::runner
