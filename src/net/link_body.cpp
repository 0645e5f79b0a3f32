#include "net/link_body.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace exomesh::net {

using platform::Readiness;
using platform::WaitEnd;

namespace {

// So much is encrypted before the socket gets it: one system call for eight records.
constexpr std::size_t chunk_bytes = 8 * tls_record_payload_bytes_max;

// Frames lie in received_ so that their payload is aligned.
constexpr std::size_t payload_offset = payload_alignment;
constexpr std::size_t frame_offset = payload_offset - frame_header_size_bytes;

constexpr std::size_t hello_bytes_max = hello_fixed_size_bytes + plan_text_bytes_max;
static_assert(hello_bytes_max <= tls_record_payload_bytes_max - frame_header_size_bytes);

Error garbage(std::string message) {
    return {ErrorCode::corrupt_data, std::move(message), ""};
}

}  // namespace

void AlignedBuffer::grow(std::size_t size_bytes, std::size_t kept_bytes) {
    if (size_bytes <= size_bytes_) return;
    Pointer larger = allocate(size_bytes);
    std::memcpy(larger.get(), data_.get(), kept_bytes);
    data_ = std::move(larger);
    size_bytes_ = size_bytes;
}

DataLink::Body::Body(std::unique_ptr<TlsStream> opened, const LinkOptions& given_options,
                     std::string given_name)
    : options(given_options),
      name(std::move(given_name)),
      stream(std::move(opened)),
      gathered_(chunk_bytes),
      received_(frame_offset + tls_record_payload_bytes_max),
      send_sequence_(options.sequence_first),
      receive_sequence_(options.sequence_first) {
    stream->set_records_per_key_max(options.records_per_key_max);
}

std::unexpected<Error> DataLink::Body::break_with(const Error& error) {
    broken = Error{error.code, name + ": " + error.message, error.hint};
    return std::unexpected(*broken);
}

void DataLink::Body::close() {
    if (!broken) broken = Error{ErrorCode::unavailable, name + ": the link was closed here.", ""};
    stream->close();
}

bool DataLink::Body::has_incoming() {
    if (broken || stream->has_record()) return true;
    stream->collect();
    return stream->has_record() || stream->has_ended();
}

const LinkStats& DataLink::Body::stats() {
    stats_.sent_wire_bytes = stream->sent_bytes() - handshake_sent_bytes_;
    stats_.received_wire_bytes = stream->received_bytes() - handshake_received_bytes_;
    stats_.sleep_count = stream->sleep_count();
    return stats_;
}

// --- sending ---

Result<void> DataLink::Body::begin_message(FrameType type, std::span<const Bytes> parts) {
    if (broken) return std::unexpected(*broken);
    EXO_ASSERT((type == FrameType::hello) != has_sent_hello_);
    EXO_ASSERT(!is_sending() && parts.size() <= message_parts_max);
    std::size_t payload_bytes = 0;
    for (const Bytes& part : parts) payload_bytes += part.size();
    if (payload_bytes > frame_payload_bytes_max) {
        return fail(
            ErrorCode::invalid_argument,
            name + ": a message of " + std::to_string(payload_bytes) + " bytes is too large.",
            "Send it in parts of at most " + std::to_string(frame_payload_bytes_max) + " bytes.");
    }
    const auto header =
        encode_frame_header({type, send_sequence_, static_cast<std::uint32_t>(payload_bytes)});
    std::ranges::copy(header, gathered_.bytes().begin());
    gathered_bytes_ = header.size();
    cursor_ = {.parts = parts,
               .payload_bytes = payload_bytes,
               .begin_us = platform::monotonic_us(),
               .is_sending = true};
    EXO_TRY(advance());
    return {};
}

// The next bytes to encrypt: behind the header, if it still waits, as much as fits; and straight
// from the caller's memory where that has a whole chunk in one piece.
std::span<const std::byte> DataLink::Body::gather_next() {
    if (gathered_bytes_ == 0 && cursor_.part < cursor_.parts.size()) {
        const Bytes rest = cursor_.parts[cursor_.part].subspan(cursor_.offset);
        if (rest.size() >= chunk_bytes) {
            cursor_.offset += chunk_bytes;
            return rest.first(chunk_bytes);
        }
    }
    const std::span<std::byte> into = gathered_.bytes();
    std::size_t filled = std::exchange(gathered_bytes_, 0);
    while (cursor_.part < cursor_.parts.size() && filled < chunk_bytes) {
        const Bytes part = cursor_.parts[cursor_.part];
        const std::size_t size = std::min(part.size() - cursor_.offset, chunk_bytes - filled);
        if (size > 0) std::memcpy(into.data() + filled, part.data() + cursor_.offset, size);
        filled += size;
        cursor_.offset += size;
        if (cursor_.offset < part.size()) break;
        ++cursor_.part;
        cursor_.offset = 0;
    }
    return into.first(filled);
}

// done when the socket has taken the whole message.
Result<Progress> DataLink::Body::advance() {
    while (true) {
        auto flushed = stream->flush();
        if (!flushed) return break_with(flushed.error());
        if (*flushed == Progress::blocked) return Progress::blocked;
        const std::span<const std::byte> next = gather_next();
        if (next.empty()) {
            message_sent();
            return Progress::done;
        }
        const Result<void> encrypted = stream->encrypt(next);
        if (!encrypted) return break_with(encrypted.error());
    }
}

void DataLink::Body::message_sent() {
    EXO_ASSERT(is_sending());
    has_sent_hello_ = true;  // the first message is one
    ++send_sequence_;
    ++stats_.sent_messages;
    stats_.sent_bytes += cursor_.payload_bytes;
    stats_.send_wait.add(platform::monotonic_us() - cursor_.begin_us);
    cursor_ = {};
}

void DataLink::Body::give_up(const Error& error) {
    if (is_sending())
        (void)break_with({error.code, "given up amid a message: " + error.message, ""});
}

Result<void> DataLink::Body::finish_messages(std::span<Body* const> bodies, Deadline deadline) {
    std::vector<Body*> unfinished;
    const auto give_up = [&unfinished](const Error& error) {
        for (Body* body : unfinished) body->give_up(error);
        return std::unexpected(error);
    };
    std::ranges::copy_if(bodies, std::back_inserter(unfinished), &Body::is_sending);
    std::vector<platform::WaitFor> waits;
    while (!unfinished.empty()) {
        waits.clear();
        for (const Body* body : unfinished) {
            waits.push_back({body->stream->descriptor(),
                             body->stream->can_collect() ? Readiness::both : Readiness::send});
        }
        // Also from those who have their message: they may have to get rid of theirs before anybody
        // takes ours.
        for (Body* body : bodies) {
            const bool takes = !body->broken && body->stream->can_collect();
            if (!takes || body->stream->has_ended() || std::ranges::contains(unfinished, body))
                continue;
            body->stream->collect();
            if (body->stream->can_collect() && !body->stream->has_ended())
                waits.push_back({body->stream->descriptor(), Readiness::receive});
        }
        const auto end = platform::wait_for_any(
            waits, Deadline::after_ms(unanswered_look_ms).or_sooner(deadline));
        if (!end) return give_up(end.error());
        for (const Body* body : unfinished) {
            if (*end == WaitEnd::timed_out && body->stream->is_unanswered())
                return give_up({ErrorCode::unavailable, body->name + ": " + unanswered_text, ""});
        }
        if (*end == WaitEnd::timed_out && deadline.passed())
            return give_up({ErrorCode::unavailable,
                            unfinished.front()->name + ": it did not take the message in time.",
                            ""});
        for (std::size_t i = 0; i < unfinished.size();) {
            unfinished[i]->stream->collect();
            const auto progress = unfinished[i]->advance();
            if (!progress) return give_up(progress.error());
            if (*progress == Progress::blocked)
                ++i;
            else
                unfinished.erase(unfinished.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }
    return {};
}

// --- receiving ---

// At least one byte.
Result<std::size_t> DataLink::Body::read(std::span<std::byte> into, Deadline deadline) {
    while (true) {
        EXO_TRY_ASSIGN(const WaitEnd end, stream->wait_for_record(options.spin_us, deadline));
        if (end == WaitEnd::timed_out)
            return fail(ErrorCode::unavailable, "it did not send the rest of a message in time.");
        EXO_TRY_ASSIGN(const std::size_t size, stream->decrypt(into));
        if (size > 0) return size;
    }
}

Result<DataLink::Body::Arrival> DataLink::Body::receive_first_record(Deadline deadline) {
    if (broken) return std::unexpected(*broken);
    Arrival arrival;
    arrival.begin_us = platform::monotonic_us();
    const std::span<std::byte> record = received_.bytes().subspan(frame_offset);
    std::size_t size = 0;
    while (size == 0) {
        const auto end = stream->wait_for_record(options.spin_us, deadline);
        if (!end) return break_with(end.error());
        if (*end == WaitEnd::timed_out)
            return fail(ErrorCode::unavailable, name + ": no message came in time.");
        const auto decrypted = stream->decrypt(record);
        if (!decrypted) return break_with(decrypted.error());
        size = *decrypted;
    }
    if (size < frame_header_size_bytes) return break_with(garbage("this is no frame."));
    const auto header =
        decode_frame_header(record.first<frame_header_size_bytes>(), receive_sequence_);
    if (!header) return break_with(header.error());
    const bool is_hello = header->type == FrameType::hello;
    if (is_hello == has_received_hello_)
        return break_with(garbage("a hello is the first frame and no other."));
    if (is_hello && header->payload_size_bytes > hello_bytes_max)
        return break_with(garbage("the hello is too long."));
    arrival.header = *header;
    arrival.payload_bytes = size - frame_header_size_bytes;
    if (arrival.payload_bytes > header->payload_size_bytes)
        return break_with(garbage("there is more behind the frame than it announced."));
    return arrival;
}

Result<void> DataLink::Body::receive_rest(std::span<std::byte> rest, Deadline deadline) {
    while (!rest.empty()) {
        const auto size = read(rest, deadline);
        if (!size) return break_with(size.error());
        rest = rest.subspan(*size);
    }
    if (stream->has_rest())
        return break_with(garbage("there is more behind the frame than it announced."));
    return {};
}

void DataLink::Body::message_received(const Arrival& arrival) {
    has_received_hello_ = true;  // or the frame would have been refused
    ++receive_sequence_;
    ++stats_.received_messages;
    stats_.received_bytes += arrival.header.payload_size_bytes;
    stats_.receive_wait.add(platform::monotonic_us() - arrival.begin_us);
}

Result<Message> DataLink::Body::receive(Deadline deadline) {
    EXO_TRY_ASSIGN(const Arrival arrival, receive_first_record(deadline));
    const std::size_t size = arrival.header.payload_size_bytes;
    received_.grow(payload_offset + size, payload_offset + arrival.payload_bytes);
    const std::span<std::byte> payload = received_.bytes().subspan(payload_offset, size);
    EXO_TRY(receive_rest(payload.subspan(arrival.payload_bytes), deadline));
    message_received(arrival);
    return Message{arrival.header.type, payload};
}

Result<void> DataLink::Body::receive_into(FrameType expected, std::span<std::byte> into,
                                          Deadline deadline) {
    EXO_TRY_ASSIGN(const Arrival arrival, receive_first_record(deadline));
    const FrameHeader& header = arrival.header;
    if (header.type != expected || header.payload_size_bytes != into.size()) {
        const auto describe = [](FrameType type, std::size_t size) {
            return "type " + std::to_string(static_cast<std::uint16_t>(type)) + " with " +
                   std::to_string(size) + " bytes";
        };
        return break_with(
            garbage("a message of " + describe(header.type, header.payload_size_bytes) +
                    " came where one of " + describe(expected, into.size()) + " was to come."));
    }
    if (arrival.payload_bytes > 0) {
        std::memcpy(into.data(), received_.bytes().data() + payload_offset, arrival.payload_bytes);
    }
    EXO_TRY(receive_rest(into.subspan(arrival.payload_bytes), deadline));
    message_received(arrival);
    return {};
}

// --- handshake ---

Result<void> DataLink::Body::send_hello(const Hello& hello, Deadline deadline) {
    EXO_TRY_ASSIGN(const std::vector<std::byte> bytes, encode_hello(hello));
    const Bytes part = bytes;
    EXO_TRY(begin_message(FrameType::hello, {&part, 1}));
    Body* const self = this;
    return finish_messages({&self, 1}, deadline);
}

Result<Hello> DataLink::Body::receive_hello(Deadline deadline) {
    auto message = receive(deadline);
    if (!message) return std::unexpected(std::move(message).error());
    auto hello = decode_hello(message->payload);
    if (!hello) return break_with(hello.error());
    return hello;
}

// The accepting side speaks first: only then does the connecting one know that its certificate was
// accepted. Both send theirs before they judge, so that both can name what differs.
Result<void> DataLink::Body::exchange_hello(const LinkSetup& setup, LinkSide side,
                                            Deadline deadline) {
    if (side == LinkSide::accepting) EXO_TRY(send_hello(setup.hello, deadline));
    EXO_TRY_ASSIGN(theirs, receive_hello(deadline));
    if (side == LinkSide::connecting) EXO_TRY(send_hello(setup.hello, deadline));
    if (setup.another_session && theirs.session_id != setup.hello.session_id)
        return break_with(*setup.another_session);
    const auto matches = check_hello(setup.hello, theirs);
    if (!matches) return break_with(matches.error());
    if (setup.peer_rank && theirs.rank != *setup.peer_rank) {
        return break_with({ErrorCode::invalid_argument,
                           "it is rank " + std::to_string(theirs.rank) + ", not rank " +
                               std::to_string(*setup.peer_rank) + ".",
                           "Check the order of the peers."});
    }
    return {};
}

Result<std::unique_ptr<DataLink::Body>> DataLink::Body::open(platform::Socket socket, LinkSide side,
                                                             const LinkSetup& setup,
                                                             Deadline deadline) {
    const std::string address = socket.peer_address();
    EXO_TRY(encode_hello(setup.hello));
    if (setup.allowed_peers.empty())
        return fail(ErrorCode::invalid_argument, "a data link without any allowed peer.");
    EXO_TRY_ASSIGN(auto stream,
                   TlsStream::create(std::move(socket), setup.tls, side == LinkSide::connecting));
    std::unique_ptr<Body> body(
        new Body(std::move(stream), setup.options, "the peer at " + address));
    auto peer = body->stream->handshake(setup.allowed_peers, deadline);
    if (!peer) return body->break_with(peer.error());
    body->peer = *std::move(peer);
    EXO_TRY(body->exchange_hello(setup, side, deadline));
    body->name = "rank " + std::to_string(body->theirs.rank) + " (" + body->peer->short_text() +
                 ", " + address + ")";
    body->stats_ = {};
    body->handshake_sent_bytes_ = body->stream->sent_bytes();
    body->handshake_received_bytes_ = body->stream->received_bytes();
    return body;
}

}  // namespace exomesh::net
