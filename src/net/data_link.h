// One encrypted TCP connection between two ranks: the path of partial sums, activations and tokens.
//
// Blocking calls with a deadline, made by the thread that computes: no other thread stands between
// it and the socket. A link belongs to one thread at a time. A small message is one frame, one TLS
// record, one system call. Waiting spins for a moment, then sleeps in poll().
//
// Ranks that send large messages to each other at once do not block each other: while its socket is
// full, a sender keeps what arrives (at most one largest message and a bit) for the next receive().
//
// Errors name the peer. unavailable: it closed the link, is gone, or did not answer in time.
// corrupt_data: it sent what is no frame, or TLS failed. invalid_argument: the two do not belong
// together (identity, session, plan). io: the operating system refused. After an error the link is
// broken: every further call returns that error; drop it and connect anew. Only a receive() whose
// message had not begun when the deadline passed leaves it whole (is_open()).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/frame.h"
#include "net/link_stats.h"
#include "net/peer_id.h"
#include "net/tls_context.h"
#include "platform/deadline.h"
#include "platform/socket.h"

namespace exomesh::net {

using platform::Deadline;

inline constexpr std::uint32_t spin_us_default = 30;
inline constexpr std::uint32_t handshake_ms_max = 5000;
inline constexpr std::size_t message_parts_max = 64;

using Bytes = std::span<const std::byte>;

struct LinkOptions {
    // How long a wait spins before it sleeps. 0 where more threads want to run than there are
    // cores.
    std::uint32_t spin_us = spin_us_default;
    // Records sent under one key; then the key is renewed (AES-GCM allows 2^24.5).
    std::uint64_t records_per_key_max = std::uint64_t{1} << 23;
    // The number of each direction's first frame, the same on both sides; another one only shows
    // what happens when numbers wrap around.
    std::uint32_t sequence_first = 0;
};

struct LinkSetup {
    TlsContext tls;
    Hello hello;                                  // what this rank says of itself
    std::vector<PeerId> allowed_peers;            // everyone else is refused; at least one
    std::optional<std::uint16_t> peer_rank = {};  // refuse a peer of another rank
    // The error where the peer is of another session, for who knows what that means.
    std::optional<Error> another_session = {};
    LinkOptions options = {};
};

struct Message {
    FrameType type = FrameType::first_of_caller;
    // The link's memory, aligned to 64 bytes, yours to change until the next receive() on this link
    // or its end. A send() leaves it as it is.
    std::span<std::byte> payload;
};

enum class LinkSide { connecting, accepting };

class DataLink {
  public:
    // Dials host (a name or an IPv4 or IPv6 address) until someone answers or the deadline passes,
    // then shakes hands. A name is looked up by the system, which keeps no deadline.
    [[nodiscard]] static Result<DataLink> connect(const std::string& host, std::uint16_t port,
                                                  const LinkSetup& setup, Deadline deadline);

    // Shakes hands over a connected stream socket (of a socketpair, say), which the link owns from
    // now on, also on failure. One end is the connecting side, the other the accepting one, and
    // both must be called at the same time.
    [[nodiscard]] static Result<DataLink> over_socket(int descriptor, LinkSide side,
                                                      const LinkSetup& setup, Deadline deadline);
    [[nodiscard]] static Result<DataLink> over_socket(platform::Socket socket, LinkSide side,
                                                      const LinkSetup& setup, Deadline deadline);

    DataLink(DataLink&& other) noexcept;
    DataLink& operator=(DataLink&& other) noexcept;
    ~DataLink();  // close()

    // Sends the parts as one message. Returns when the socket has taken all of it; parts may be
    // changed then. The type is FrameType::first_of_caller or greater.
    [[nodiscard]] Result<void> send(FrameType type, std::span<const Bytes> parts,
                                    Deadline deadline);
    [[nodiscard]] Result<void> send(FrameType type, std::initializer_list<Bytes> parts,
                                    Deadline deadline) {
        return send(type, std::span(parts.begin(), parts.size()), deadline);
    }

    // The next message.
    [[nodiscard]] Result<Message> receive(Deadline deadline);

    // The next message straight into `into`: the type must be the expected one and the payload have
    // exactly this size, otherwise corrupt_data.
    [[nodiscard]] Result<void> receive_into(FrameType expected, std::span<std::byte> into,
                                            Deadline deadline);

    // False once an error or close() has ended it. A receive() that timed out before its message
    // began does not: call it again.
    [[nodiscard]] bool is_open() const;

    // Whether it is amid a message: begin_all() was called, finish_all() was not. Nothing can be
    // sent then.
    [[nodiscard]] bool is_sending() const;

    // Whether receive() has something to begin with; never waits. True also where the link broke.
    [[nodiscard]] bool has_incoming();

    // Says goodbye if the socket takes it at once, and closes. Every call after it fails. While
    // something of the peer was not received here, the system may drop what the peer has not
    // received yet: let the side that received last close first.
    void close();

    [[nodiscard]] const PeerId& peer_id() const;
    [[nodiscard]] std::uint16_t peer_rank() const;
    [[nodiscard]] const std::string& peer_name() const;  // "rank 1 (12D3KooW..., 10.0.0.2:4001)"
    [[nodiscard]] const LinkStats& stats() const;
    [[nodiscard]] std::string cipher() const;  // "TLS_AES_128_GCM_SHA256"
    [[nodiscard]] int descriptor() const;      // for poll() over several links; -1 when closed
    void set_spin_us(std::uint32_t spin_us);

  private:
    friend class LinkListener;
    friend Result<void> begin_all(std::span<const struct Outgoing> messages);
    friend Result<void> finish_all(std::span<const struct Outgoing> messages, Deadline deadline,
                                   std::span<DataLink* const> also_keep);
    class Body;
    explicit DataLink(std::unique_ptr<Body> body);
    std::unique_ptr<Body> body_;
};

// One message for each of several links, sent side by side: three or more ranks that send large
// messages to each other need this, since a full socket of one link would keep the others waiting.
struct Outgoing {
    DataLink* link = nullptr;
    FrameType type = FrameType::first_of_caller;
    std::span<const Bytes> parts;
};
// Keeps what arrives on all of them meanwhile, and on the links of `also_keep`: where ranks send in
// a circle, one of them must take from behind what keeps it waiting in front.
[[nodiscard]] Result<void> send_all(std::span<const Outgoing> messages, Deadline deadline,
                                    std::span<DataLink* const> also_keep = {});

// The same in two halves, so that one can compute meanwhile: begin_all() hands the sockets what
// they take at once, finish_all() the rest. The parts must stay until then, and nothing else may be
// sent on these links.
[[nodiscard]] Result<void> begin_all(std::span<const Outgoing> messages);
[[nodiscard]] Result<void> finish_all(std::span<const Outgoing> messages, Deadline deadline,
                                      std::span<DataLink* const> also_keep = {});

class LinkListener {
  public:
    // host is an address of this device, or "" for all. Port 0 takes a free one.
    [[nodiscard]] static Result<LinkListener> listen(const std::string& host, std::uint16_t port);

    // Takes connections from a socket that listens already.
    explicit LinkListener(platform::ListeningSocket socket);

    LinkListener(LinkListener&& other) noexcept;
    LinkListener& operator=(LinkListener&& other) noexcept;
    ~LinkListener();

    [[nodiscard]] std::uint16_t port() const;

    // Waits until somebody connects and leaves them to accept(); false when nobody has by the
    // deadline. For who waits long and looks at other things in between.
    [[nodiscard]] Result<bool> wait(Deadline deadline) const;

    // Waits for one connection and shakes hands, at most handshake_ms_max long so that a silent
    // stranger holds nobody up. An error before the deadline has passed concerns that one
    // connection: call again. Several threads may call at once.
    [[nodiscard]] Result<DataLink> accept(const LinkSetup& setup, Deadline deadline);

    // The first half of accept(), for who must not wait for a stranger's handshake: one connection
    // to shake hands over, on any thread.
    [[nodiscard]] Result<platform::Socket> take(Deadline deadline) const;

  private:
    class Body;
    std::unique_ptr<Body> body_;
};

}  // namespace exomesh::net
