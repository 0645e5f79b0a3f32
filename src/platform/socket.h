// TCP and local stream sockets that never block by themselves: who wants to wait says how long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "base/result.h"
#include "platform/deadline.h"
#include "platform/descriptor.h"

struct addrinfo;  // NOLINT(readability-identifier-naming): POSIX names it

namespace exomesh::platform {

enum class IoState {
    done,         // size_bytes were moved, at least one
    would_block,  // nothing moved: wait until it is ready
    closed,       // the peer will send no more
    failed,       // error_number says why
};

struct IoOutcome {
    IoState state = IoState::done;
    std::size_t size_bytes = 0;
    int error_number = 0;
};

// A connected stream socket. Closed with the object.
class Socket {
  public:
    // Takes a connected stream socket, also on failure: it is made non-blocking, is not handed to
    // child programs, and sends small writes at once.
    [[nodiscard]] static Result<Socket> adopt(int descriptor);

    [[nodiscard]] IoOutcome receive(std::span<std::byte> into) const;
    [[nodiscard]] IoOutcome send(std::span<const std::byte> bytes) const;

    // Whether the network has stopped carrying what is sent: it was repeated several times, for
    // more than a second, without an answer of the peer's system. A peer that is merely slow
    // answers. False where the system does not tell.
    [[nodiscard]] bool is_unanswered() const;

    // Says that nothing more will be sent; what the peer sends can still be received.
    void finish_sending() const;
    void close() { descriptor_.close(); }

    [[nodiscard]] int descriptor() const { return descriptor_.get(); }
    [[nodiscard]] std::string peer_address() const;  // "10.0.0.2:4001", "[::1]:4001", "this device"

  private:
    explicit Socket(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}
    Descriptor descriptor_;
};

// The first address of the list that connects, or the last one's errno. Each gets an equal share of
// the time that is left when its turn comes: one that is dead leaves some to those behind it.
[[nodiscard]] std::expected<Descriptor, int> connect_to_first(const addrinfo* addresses,
                                                              Deadline deadline);

// One attempt at each address of the host, a name or a number, as connect_to_first() makes them.
// unavailable where nobody answers, not_found where the name is unknown. Looking up a name keeps no
// deadline; a number needs none.
[[nodiscard]] Result<Socket> connect_socket(const std::string& host, std::uint16_t port,
                                            Deadline deadline);

class ListeningSocket {
  public:
    // host "" stands for all addresses of this device, port 0 for a free one.
    [[nodiscard]] static Result<ListeningSocket> listen(const std::string& host,
                                                        std::uint16_t port);

    // A socket that listens already, which somebody else has made and handed over.
    [[nodiscard]] static Result<ListeningSocket> adopt(int descriptor);

    // unavailable when the deadline has passed. May be called by several threads at once.
    [[nodiscard]] Result<Socket> accept(Deadline deadline) const;

    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] int descriptor() const { return descriptor_.get(); }  // for wait_for_any()

  private:
    ListeningSocket(Descriptor descriptor, std::uint16_t port)
        : descriptor_(std::move(descriptor)), port_(port) {}
    Descriptor descriptor_;
    std::uint16_t port_;
};

enum class Readiness { receive, send, both };
enum class WaitEnd { ready, timed_out };

struct WaitFor {
    int descriptor = -1;
    Readiness wanted = Readiness::receive;
};

// Sleeps until one of them is ready (or broken, which the next call on it tells), or the deadline.
[[nodiscard]] Result<WaitEnd> wait_for_any(std::span<const WaitFor> sockets, Deadline deadline);

}  // namespace exomesh::platform
