#include "net/tls_stream.h"

#include <openssl/bio.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/assert.h"
#include "net/peer_check.h"

namespace exomesh::net {

using platform::Deadline;
using platform::IoState;
using platform::Readiness;
using platform::WaitEnd;

// OpenSSL's input and output, by the two buffers. Output always fits; an empty input asks to come
// again.
struct StreamBuffers {
    static TlsStream& stream(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

    static int write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
        const auto* bytes = reinterpret_cast<const std::byte*>(data);
        auto& outgoing = stream(bio).outgoing_;
        outgoing.insert(outgoing.end(), bytes, bytes + size);
        *written = size;
        return 1;
    }

    static int read(BIO* bio, char* data, std::size_t size, std::size_t* taken) {
        TlsStream& from = stream(bio);
        BIO_clear_retry_flags(bio);
        *taken = std::min(size, from.incoming_end_ - from.incoming_begin_);
        if (*taken == 0) {
            BIO_set_retry_read(bio);
            return 0;
        }
        std::memcpy(data, from.incoming_.data() + from.incoming_begin_, *taken);
        from.incoming_begin_ += *taken;
        if (from.incoming_begin_ == from.incoming_end_)
            from.incoming_begin_ = from.incoming_end_ = 0;
        return 1;
    }

    static long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static const BIO_METHOD* method() {
        static const BIO_METHOD* const made = [] {
            BIO_METHOD* fresh =
                BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream buffers");
            EXO_ASSERT(fresh != nullptr);
            BIO_meth_set_write_ex(fresh, write);
            BIO_meth_set_read_ex(fresh, read);
            BIO_meth_set_ctrl(fresh, control);
            return fresh;
        }();
        return made;
    }
};

namespace {

constexpr std::size_t incoming_bytes_initial = 256 << 10;
constexpr std::uint32_t spins_skipped_max = 15;
constexpr std::size_t record_header_bytes = 5;
constexpr std::size_t record_body_bytes_max = tls_record_payload_bytes_max + 256;
constexpr int record_type_min = 20;
constexpr int record_type_max = 24;
constexpr auto record_version_major = std::byte{3};
constexpr const char* closed_text = "it closed the connection.";

Error error_of(int error_number) {
    const std::string text = std::system_category().message(error_number);
    return {ErrorCode::unavailable, "the connection is lost: " + text + ".", ""};
}

// What the peer's alerts, and our own findings, mean on a data link.
Error explain(unsigned long code) {
    switch (ERR_GET_REASON(code)) {
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
            return {ErrorCode::invalid_argument,
                    "it refused this device, which is not on its list of allowed peers.",
                    "Add this device there."};
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
            return {ErrorCode::invalid_argument,
                    "it refused this device, whose certificate is not valid by its clock.",
                    "Check date and time on both devices."};
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return {ErrorCode::invalid_argument, "it refused this device's certificate.", ""};
        case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
        case SSL_R_NO_APPLICATION_PROTOCOL:
            return {ErrorCode::corrupt_data, "it speaks TLS, but not the protocol of data links.",
                    "Check the port, and run the same version of exomesh everywhere."};
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
        case SSL_R_PACKET_LENGTH_TOO_LONG:
            return {ErrorCode::corrupt_data, "it does not speak TLS 1.3.",
                    "Another program may use the port."};
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return {ErrorCode::invalid_argument, "it showed no certificate.", ""};
        default: {
            const char* reason = ERR_reason_error_string(code);
            return {ErrorCode::corrupt_data,
                    std::string("TLS failed: ") + (reason == nullptr ? "unknown" : reason) + ".",
                    ""};
        }
    }
}

}  // namespace

Result<std::unique_ptr<TlsStream>> TlsStream::create(platform::Socket socket,
                                                     const TlsContext& context,
                                                     bool is_connecting) {
    std::unique_ptr<TlsStream> stream(new TlsStream(std::move(socket)));
    stream->ssl_.reset(SSL_new(context.native()));
    BIO* bio = BIO_new(StreamBuffers::method());
    if (!stream->ssl_ || bio == nullptr) {
        BIO_free(bio);
        return fail(ErrorCode::internal, "cannot set up TLS: " + take_openssl_error() + ".");
    }
    BIO_set_data(bio, stream.get());
    BIO_set_init(bio, 1);
    SSL_set_bio(stream->ssl_.get(), bio, bio);
    if (is_connecting) {
        SSL_set_connect_state(stream->ssl_.get());
    } else {
        SSL_set_accept_state(stream->ssl_.get());
    }
    stream->incoming_.resize(incoming_bytes_initial);
    return stream;
}

Result<PeerId> TlsStream::handshake(std::span<const PeerId> allowed, Deadline deadline) {
    PeerCheck check{allowed};
    EXO_TRY(attach_peer_check(ssl_.get(), &check));
    Result<void> done = finish_handshake(check, deadline);
    EXO_TRY(attach_peer_check(ssl_.get(), nullptr));
    EXO_TRY(done);
    EXO_ASSERT(check.peer.has_value());
    if (!has_data_protocol(ssl_.get()))
        return std::unexpected(explain(SSL_R_NO_APPLICATION_PROTOCOL));
    return *check.peer;
}

Result<void> TlsStream::finish_handshake(const PeerCheck& check, Deadline deadline) {
    while (true) {
        ERR_clear_error();
        const int result = SSL_do_handshake(ssl_.get());
        const int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), result);
        std::optional<Error> failure;
        if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ)
            failure = check.error ? *check.error : tls_failure().error();
        ERR_clear_error();
        const Result<void> flushed = finish_flush(deadline);  // the alert, too
        if (failure) {
            socket_.finish_sending();
            return std::unexpected(*failure);
        }
        EXO_TRY(flushed);
        if (result == 1) return {};
        EXO_TRY_ASSIGN(const WaitEnd waited, wait_for_record(0, deadline));
        if (waited == WaitEnd::timed_out) {
            return fail(ErrorCode::unavailable, "it did not finish the TLS handshake in time.");
        }
    }
}

std::unexpected<Error> TlsStream::tls_failure() {
    const unsigned long code = ERR_peek_error();
    ERR_clear_error();
    return std::unexpected(explain(code));
}

Result<void> TlsStream::encrypt(std::span<const std::byte> bytes) {
    if (records_with_key_ >= records_per_key_max_) {
        records_with_key_ = 0;
        if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return tls_failure();
    }
    records_with_key_ += bytes.size() / tls_record_payload_bytes_max + 1;
    ERR_clear_error();
    std::size_t written = 0;
    if (SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written) != 1) return tls_failure();
    EXO_ASSERT(written == bytes.size());
    return {};
}

Result<Progress> TlsStream::flush() {
    while (outgoing_begin_ < outgoing_.size()) {
        const auto outcome = socket_.send(std::span(outgoing_).subspan(outgoing_begin_));
        outgoing_begin_ += outcome.size_bytes;
        sent_bytes_ += outcome.size_bytes;
        if (outcome.state == IoState::would_block) return Progress::blocked;
        if (outcome.state == IoState::failed)
            return std::unexpected(error_of(outcome.error_number));
        if (outcome.state == IoState::closed) return fail(ErrorCode::unavailable, closed_text);
    }
    outgoing_.clear();
    outgoing_begin_ = 0;
    return Progress::done;
}

// Of the handshake, whose flights are small: nothing needs to be read meanwhile.
Result<void> TlsStream::finish_flush(Deadline deadline) {
    while (true) {
        EXO_TRY_ASSIGN(const Progress progress, flush());
        if (progress == Progress::done) return {};
        const platform::WaitFor writable{socket_.descriptor(), Readiness::send};
        EXO_TRY_ASSIGN(const WaitEnd end, platform::wait_for_any({&writable, 1}, deadline));
        if (end == WaitEnd::timed_out)
            return fail(ErrorCode::unavailable, "it did not take the TLS handshake in time.");
    }
}

bool TlsStream::can_collect() const {
    return !end_ && incoming_end_ - incoming_begin_ < incoming_bytes_max;
}

// Room behind what has arrived: first by moving that to the front, then by more memory.
std::span<std::byte> TlsStream::free_incoming() {
    constexpr std::size_t room_min = 32 << 10;
    if (incoming_.size() - incoming_end_ < room_min) {
        const std::size_t kept = incoming_end_ - incoming_begin_;
        if (incoming_.size() - kept < incoming_.size() / 2)
            incoming_.resize(std::min(2 * incoming_.size(), incoming_bytes_max + room_min));
        if (incoming_begin_ > 0)
            std::memmove(incoming_.data(), incoming_.data() + incoming_begin_, kept);
        incoming_begin_ = 0;
        incoming_end_ = kept;
    }
    return std::span(incoming_).subspan(incoming_end_);
}

void TlsStream::collect() {
    if (!can_collect()) return;
    const auto outcome = socket_.receive(free_incoming());
    incoming_end_ += outcome.size_bytes;
    received_bytes_ += outcome.size_bytes;
    if (outcome.state == IoState::failed) end_ = error_of(outcome.error_number);
    if (outcome.state == IoState::closed) end_ = Error{ErrorCode::unavailable, closed_text, ""};
}

bool TlsStream::has_record() const {
    const std::size_t size = incoming_end_ - incoming_begin_;
    if (size < record_header_bytes) return false;
    const std::byte* header = incoming_.data() + incoming_begin_;
    // What can never become a record does not wait for more: OpenSSL shall refuse it now.
    const auto type = std::to_integer<int>(header[0]);
    if (type < record_type_min || type > record_type_max || header[1] != record_version_major)
        return true;
    const std::size_t body_size =
        std::to_integer<std::size_t>(header[3]) << 8 | std::to_integer<std::size_t>(header[4]);
    return body_size > record_body_bytes_max || size >= record_header_bytes + body_size;
}

Result<std::size_t> TlsStream::decrypt(std::span<std::byte> into) {
    ERR_clear_error();
    std::size_t size = 0;
    if (SSL_read_ex(ssl_.get(), into.data(), into.size(), &size) == 1) return size;
    switch (SSL_get_error(ssl_.get(), 0)) {
        case SSL_ERROR_WANT_READ:
            return 0;
        case SSL_ERROR_ZERO_RETURN:
            return fail(ErrorCode::unavailable, "it closed the link.");
        default:
            return tls_failure();
    }
}

// Where the peer wants the core we spin on, spinning only keeps it from answering: after a failure
// ever more waits go without, until one succeeds again.
void TlsStream::spin(std::uint64_t end_us) {
    if (spins_to_skip_ > 0) {
        --spins_to_skip_;
        return;
    }
    while (!has_record() && !end_ && platform::monotonic_us() < end_us) collect();
    const bool failed = !has_record() && !end_;
    spin_penalty_ = failed ? std::min(2 * spin_penalty_ + 1, spins_skipped_max) : 0;
    spins_to_skip_ = spin_penalty_;
}

Result<WaitEnd> TlsStream::wait_for_record(std::uint32_t spin_us, Deadline deadline) {
    if (has_record()) return WaitEnd::ready;
    collect();
    if (spin_us > 0 && !has_record() && !end_)
        spin(Deadline::after_us(spin_us).or_sooner(deadline).at_us);
    while (!has_record()) {
        if (end_) return std::unexpected(*end_);
        ++sleep_count_;
        const platform::WaitFor readable{socket_.descriptor(), Readiness::receive};
        const Deadline look = Deadline::after_ms(unanswered_look_ms).or_sooner(deadline);
        EXO_TRY_ASSIGN(const WaitEnd end, platform::wait_for_any({&readable, 1}, look));
        if (end == WaitEnd::timed_out && deadline.passed()) return WaitEnd::timed_out;
        if (end == WaitEnd::timed_out && is_unanswered())
            return fail(ErrorCode::unavailable, unanswered_text);
        collect();
    }
    return WaitEnd::ready;
}

void TlsStream::close() {
    if (socket_.descriptor() < 0) return;
    // Behind half a record a goodbye would be garbage.
    if (outgoing_.empty() && SSL_is_init_finished(ssl_.get()) == 1) {
        ERR_clear_error();
        SSL_shutdown(ssl_.get());
        [[maybe_unused]] const auto flushed = flush();
        ERR_clear_error();
    }
    socket_.close();
}

std::string TlsStream::cipher() const {
    return SSL_get_cipher_name(ssl_.get());
}

}  // namespace exomesh::net
