// The inside of a data link: frames over a TLS stream.
#pragma once

#include <array>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>

#include "net/data_link.h"
#include "net/tls_stream.h"

namespace exomesh::net {

inline constexpr std::size_t payload_alignment = 64;

// Memory that is neither zeroed nor copied unless asked.
class AlignedBuffer {
  public:
    explicit AlignedBuffer(std::size_t size_bytes)
        : data_(allocate(size_bytes)), size_bytes_(size_bytes) {}

    [[nodiscard]] std::span<std::byte> bytes() const { return {data_.get(), size_bytes_}; }
    // Makes it at least so large and keeps its first bytes.
    void grow(std::size_t size_bytes, std::size_t kept_bytes);

  private:
    struct Free {
        void operator()(std::byte* data) const {
            ::operator delete[](data, std::align_val_t{payload_alignment});
        }
    };
    using Pointer = std::unique_ptr<std::byte[], Free>;
    static Pointer allocate(std::size_t size_bytes) {
        void* data = ::operator new[](size_bytes, std::align_val_t{payload_alignment});
        return Pointer(static_cast<std::byte*>(data));
    }
    Pointer data_;
    std::size_t size_bytes_;
};

class DataLink::Body {
  public:
    // Shakes hands: TLS, then hello both ways.
    [[nodiscard]] static Result<std::unique_ptr<Body>> open(platform::Socket socket, LinkSide side,
                                                            const LinkSetup& setup,
                                                            Deadline deadline);

    // Hands the socket as much of a message as it takes at once.
    [[nodiscard]] Result<void> begin_message(FrameType type, std::span<const Bytes> parts);
    // Whether some of the message that was begun last is still here.
    [[nodiscard]] bool is_sending() const { return cursor_.is_sending && !broken; }
    // Sends the rest of the messages that some of these links have, and keeps what arrives on any.
    [[nodiscard]] static Result<void> finish_messages(std::span<Body* const> bodies,
                                                      Deadline deadline);
    // Half a message is worse than none: who got one must not get another behind it.
    void give_up(const Error& error);
    [[nodiscard]] Result<Message> receive(Deadline deadline);
    [[nodiscard]] Result<void> receive_into(FrameType expected, std::span<std::byte> into,
                                            Deadline deadline);
    [[nodiscard]] bool has_incoming();
    void close();

    [[nodiscard]] const LinkStats& stats();

    LinkOptions options;
    Hello theirs = {};
    std::string name;
    std::optional<PeerId> peer = {};
    std::optional<Error> broken = {};
    std::unique_ptr<TlsStream> stream;

  private:
    // The message that is being sent; its parts are the caller's.
    struct Cursor {
        std::span<const Bytes> parts = {};
        std::size_t part = 0;    // the first that is not wholly encrypted
        std::size_t offset = 0;  // into it
        std::size_t payload_bytes = 0;
        std::uint64_t begin_us = 0;
        bool is_sending = false;
    };
    // What receiving a frame has reached: its first record lies in received_.
    struct Arrival {
        FrameHeader header = {};
        std::size_t payload_bytes = 0;  // of it that have arrived
        std::uint64_t begin_us = 0;
    };

    Body(std::unique_ptr<TlsStream> stream, const LinkOptions& options, std::string name);

    [[nodiscard]] std::unexpected<Error> break_with(const Error& error);
    [[nodiscard]] Result<void> exchange_hello(const LinkSetup& setup, LinkSide side,
                                              Deadline deadline);
    [[nodiscard]] Result<void> send_hello(const Hello& hello, Deadline deadline);
    [[nodiscard]] Result<Hello> receive_hello(Deadline deadline);

    [[nodiscard]] Result<Progress> advance();
    [[nodiscard]] std::span<const std::byte> gather_next();
    void message_sent();

    [[nodiscard]] Result<Arrival> receive_first_record(Deadline deadline);
    [[nodiscard]] Result<void> receive_rest(std::span<std::byte> rest, Deadline deadline);
    [[nodiscard]] Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);
    void message_received(const Arrival& arrival);

    AlignedBuffer gathered_;
    std::size_t gathered_bytes_ = 0;
    AlignedBuffer received_;
    Cursor cursor_ = {};
    // They wrap around: days of decoding are more frames than they count.
    std::uint32_t send_sequence_;
    std::uint32_t receive_sequence_;
    bool has_sent_hello_ = false;
    bool has_received_hello_ = false;
    LinkStats stats_ = {};
    std::uint64_t handshake_sent_bytes_ = 0;
    std::uint64_t handshake_received_bytes_ = 0;
};

}  // namespace exomesh::net
