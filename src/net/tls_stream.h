// TLS over one socket, in steps that never wait: what is to be sent gathers in one buffer and
// leaves it with as few system calls as possible, what arrives gathers in another. OpenSSL sees
// only these buffers, so a call into it never fails for want of the network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/frame.h"
#include "net/openssl.h"
#include "net/peer_id.h"
#include "net/tls_context.h"
#include "platform/deadline.h"
#include "platform/socket.h"

namespace exomesh::net {

struct PeerCheck;

// What may wait here undecrypted while we send: one largest frame, its records' overhead, and a
// bit.
inline constexpr std::size_t incoming_bytes_max = frame_payload_bytes_max + (std::size_t{1} << 20);
inline constexpr std::size_t tls_record_payload_bytes_max = 16384;
// How often a wait looks whether the network still carries what is sent.
inline constexpr std::uint64_t unanswered_look_ms = 200;
inline constexpr const char* unanswered_text = "the network no longer carries what is sent to it.";

enum class Progress { done, blocked };

class TlsStream {
  public:
    // connecting is TLS's client, accepting its server.
    [[nodiscard]] static Result<std::unique_ptr<TlsStream>> create(platform::Socket socket,
                                                                   const TlsContext& context,
                                                                   bool is_connecting);
    TlsStream(const TlsStream&) = delete;
    TlsStream& operator=(const TlsStream&) = delete;

    // Who the peer is: one of those allowed, or an error.
    [[nodiscard]] Result<PeerId> handshake(std::span<const PeerId> allowed,
                                           platform::Deadline deadline);

    // Makes records of the bytes and puts them behind what is to be sent.
    [[nodiscard]] Result<void> encrypt(std::span<const std::byte> bytes);
    // Renews the key that encrypts, once so many records were made with one.
    void set_records_per_key_max(std::uint64_t count) { records_per_key_max_ = count; }

    // Hands what is to be sent to the socket; blocked where it takes only a part.
    [[nodiscard]] Result<Progress> flush();

    // Takes what has arrived, with at most one system call.
    void collect();
    [[nodiscard]] bool can_collect() const;
    // Whether decrypt() has a whole record.
    [[nodiscard]] bool has_record() const;
    // Whether has_record() is false for good.
    [[nodiscard]] bool has_ended() const { return end_.has_value(); }
    // Decrypts one record into `into`; 0 where it was TLS's own business.
    [[nodiscard]] Result<std::size_t> decrypt(std::span<std::byte> into);
    // Whether the last record had more than fitted.
    [[nodiscard]] bool has_rest() const { return SSL_pending(ssl_.get()) > 0; }

    // Waits for a whole record: spins for a moment, then sleeps.
    [[nodiscard]] Result<platform::WaitEnd> wait_for_record(std::uint32_t spin_us,
                                                            platform::Deadline deadline);

    // Says goodbye if the socket takes it at once, and closes.
    void close();

    // platform::Socket::is_unanswered(): ask now and then while waiting.
    [[nodiscard]] bool is_unanswered() const { return socket_.is_unanswered(); }
    [[nodiscard]] int descriptor() const { return socket_.descriptor(); }
    [[nodiscard]] std::string peer_address() const { return socket_.peer_address(); }
    [[nodiscard]] std::string cipher() const;
    [[nodiscard]] std::uint64_t sent_bytes() const { return sent_bytes_; }
    [[nodiscard]] std::uint64_t received_bytes() const { return received_bytes_; }
    [[nodiscard]] std::uint64_t sleep_count() const { return sleep_count_; }

  private:
    friend struct StreamBuffers;  // the callbacks through which OpenSSL sees the buffers

    explicit TlsStream(platform::Socket socket) : socket_(std::move(socket)) {}
    [[nodiscard]] std::unexpected<Error> tls_failure();
    [[nodiscard]] Result<void> finish_handshake(const PeerCheck& check,
                                                platform::Deadline deadline);
    [[nodiscard]] Result<void> finish_flush(platform::Deadline deadline);
    [[nodiscard]] std::span<std::byte> free_incoming();
    void spin(std::uint64_t end_us);

    platform::Socket socket_;
    SslPointer ssl_;
    std::vector<std::byte> outgoing_;
    std::size_t outgoing_begin_ = 0;
    std::vector<std::byte> incoming_;  // its size is the capacity
    std::size_t incoming_begin_ = 0;
    std::size_t incoming_end_ = 0;
    std::optional<Error> end_;  // why nothing more will arrive
    std::uint64_t records_per_key_max_ = UINT64_MAX;
    std::uint64_t records_with_key_ = 0;
    std::uint64_t sent_bytes_ = 0;
    std::uint64_t received_bytes_ = 0;
    std::uint64_t sleep_count_ = 0;
    std::uint32_t spins_to_skip_ = 0;
    std::uint32_t spin_penalty_ = 0;
};

}  // namespace exomesh::net
