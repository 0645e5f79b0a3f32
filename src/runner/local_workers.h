// Workers on this machine: child processes of the same program, supervised.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/identity.h"
#include "platform/supervised_child.h"
#include "runner/cluster.h"

namespace exomesh::runner {

// HOST:PORT/PEERID, HOST a name or an address (IPv6 in brackets). invalid_argument otherwise.
[[nodiscard]] Result<WorkerAddress> parse_worker_address(std::string_view text);

// What a worker prints when it can be reached, for people and for whoever started it:
// "worker listens on HOST:PORT/PEERID".
[[nodiscard]] std::string announcement(std::string_view host, std::uint16_t port,
                                       const net::PeerId& peer_id);
[[nodiscard]] Result<WorkerAddress> parse_announcement(std::string_view line);

class LocalWorkers {
  public:
    // Starts `count` times `program worker --listen 127.0.0.1:0 --allow HEAD --once` and waits
    // until all can be reached. The children end with this object, and with this process.
    [[nodiscard]] static Result<std::shared_ptr<LocalWorkers>> start(const std::string& program,
                                                                     std::uint32_t count,
                                                                     const net::PeerId& head);

    [[nodiscard]] const std::vector<WorkerAddress>& addresses() const { return addresses_; }

    // How the worker of this rank (1, 2, ...) ended; empty while it runs. Safe from any one thread.
    [[nodiscard]] std::string explain_loss(std::size_t rank);

  private:
    LocalWorkers() = default;
    std::vector<platform::SupervisedChild> children_;
    std::vector<WorkerAddress> addresses_;
};

}  // namespace exomesh::runner
