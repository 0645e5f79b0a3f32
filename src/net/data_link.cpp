#include "net/data_link.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "net/link_body.h"
#include "platform/socket.h"

namespace exomesh::net {

using platform::ListeningSocket;
using platform::Socket;

namespace {

constexpr std::uint64_t retry_us_first = 10'000;
constexpr std::uint64_t retry_us_max = 500'000;

Result<Socket> connect_with_retries(const std::string& host, std::uint16_t port,
                                    Deadline deadline) {
    for (std::uint64_t pause_us = retry_us_first;;
         pause_us = std::min(2 * pause_us, retry_us_max)) {
        auto socket = platform::connect_socket(host, port, deadline);
        if (socket || socket.error().code != ErrorCode::unavailable || deadline.passed())
            return socket;
        EXO_TRY(platform::wait_for_any({}, Deadline::after_us(pause_us).or_sooner(deadline)));
    }
}

}  // namespace

DataLink::DataLink(std::unique_ptr<Body> body) : body_(std::move(body)) {}
DataLink::DataLink(DataLink&& other) noexcept = default;
DataLink& DataLink::operator=(DataLink&& other) noexcept {
    std::swap(body_, other.body_);
    return *this;
}
DataLink::~DataLink() {
    close();
}

Result<DataLink> DataLink::connect(const std::string& host, std::uint16_t port,
                                   const LinkSetup& setup, Deadline deadline) {
    EXO_TRY_ASSIGN(Socket socket, connect_with_retries(host, port, deadline));
    EXO_TRY_ASSIGN(auto body, Body::open(std::move(socket), LinkSide::connecting, setup, deadline));
    return DataLink(std::move(body));
}

Result<DataLink> DataLink::over_socket(int descriptor, LinkSide side, const LinkSetup& setup,
                                       Deadline deadline) {
    EXO_TRY_ASSIGN(Socket socket, Socket::adopt(descriptor));
    return over_socket(std::move(socket), side, setup, deadline);
}

Result<DataLink> DataLink::over_socket(Socket socket, LinkSide side, const LinkSetup& setup,
                                       Deadline deadline) {
    EXO_TRY_ASSIGN(auto body, Body::open(std::move(socket), side, setup, deadline));
    return DataLink(std::move(body));
}

Result<void> DataLink::send(FrameType type, std::span<const Bytes> parts, Deadline deadline) {
    const Outgoing message{.link = this, .type = type, .parts = parts};
    return send_all({&message, 1}, deadline);
}

Result<void> send_all(std::span<const Outgoing> messages, Deadline deadline,
                      std::span<DataLink* const> also_keep) {
    EXO_TRY(begin_all(messages));
    return finish_all(messages, deadline, also_keep);
}

Result<void> begin_all(std::span<const Outgoing> messages) {
    EXO_ASSERT(messages.size() <= rank_count_max);
    for (std::size_t i = 0; i < messages.size(); ++i) {
        const Outgoing& message = messages[i];
        EXO_ASSERT(message.type >= FrameType::first_of_caller);
        const auto begun = message.link->body_->begin_message(message.type, message.parts);
        if (begun) continue;
        for (const Outgoing& earlier : messages.first(i))
            earlier.link->body_->give_up(begun.error());
        return begun;
    }
    return {};
}

Result<void> finish_all(std::span<const Outgoing> messages, Deadline deadline,
                        std::span<DataLink* const> also_keep) {
    const bool all_sent = std::ranges::none_of(
        messages, [](const Outgoing& message) { return message.link->body_->is_sending(); });
    if (all_sent) return {};
    std::vector<DataLink::Body*> bodies;
    bodies.reserve(messages.size() + also_keep.size());
    for (const Outgoing& message : messages) bodies.push_back(message.link->body_.get());
    for (const DataLink* link : also_keep) {  // which may be one of those that send
        DataLink::Body* body = link->body_.get();
        if (!std::ranges::contains(bodies, body)) bodies.push_back(body);
    }
    return DataLink::Body::finish_messages(bodies, deadline);
}

Result<Message> DataLink::receive(Deadline deadline) {
    return body_->receive(deadline);
}

Result<void> DataLink::receive_into(FrameType expected, std::span<std::byte> into,
                                    Deadline deadline) {
    return body_->receive_into(expected, into, deadline);
}

bool DataLink::is_open() const {
    return body_ && !body_->broken;
}
bool DataLink::is_sending() const {
    return body_ && body_->is_sending();
}
bool DataLink::has_incoming() {
    return body_->has_incoming();
}
void DataLink::close() {
    if (body_) body_->close();
}
const PeerId& DataLink::peer_id() const {
    return *body_->peer;
}
std::uint16_t DataLink::peer_rank() const {
    return body_->theirs.rank;
}
const std::string& DataLink::peer_name() const {
    return body_->name;
}
const LinkStats& DataLink::stats() const {
    return body_->stats();
}
std::string DataLink::cipher() const {
    return body_->stream->cipher();
}
int DataLink::descriptor() const {
    return body_->stream->descriptor();
}
void DataLink::set_spin_us(std::uint32_t spin_us) {
    body_->options.spin_us = spin_us;
}

class LinkListener::Body {
  public:
    ListeningSocket socket;
};

LinkListener::LinkListener(LinkListener&& other) noexcept = default;
LinkListener& LinkListener::operator=(LinkListener&& other) noexcept = default;
LinkListener::~LinkListener() = default;

Result<LinkListener> LinkListener::listen(const std::string& host, std::uint16_t port) {
    EXO_TRY_ASSIGN(ListeningSocket socket, ListeningSocket::listen(host, port));
    return LinkListener(std::move(socket));
}

LinkListener::LinkListener(ListeningSocket socket)
    : body_(std::make_unique<Body>(Body{std::move(socket)})) {}

std::uint16_t LinkListener::port() const {
    return body_->socket.port();
}

Result<bool> LinkListener::wait(Deadline deadline) const {
    const platform::WaitFor incoming{body_->socket.descriptor(), platform::Readiness::receive};
    EXO_TRY_ASSIGN(const platform::WaitEnd end, platform::wait_for_any({&incoming, 1}, deadline));
    return end == platform::WaitEnd::ready;
}

Result<DataLink> LinkListener::accept(const LinkSetup& setup, Deadline deadline) {
    EXO_TRY_ASSIGN(Socket socket, take(deadline));
    const Deadline handshake_end = Deadline::after_ms(handshake_ms_max).or_sooner(deadline);
    return DataLink::over_socket(std::move(socket), LinkSide::accepting, setup, handshake_end);
}

Result<Socket> LinkListener::take(Deadline deadline) const {
    return body_->socket.accept(deadline);
}

}  // namespace exomesh::net
