#include "platform/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <system_error>
#include <vector>

namespace exomesh::platform {
namespace {

constexpr int waiting_connections_max = 64;
// A connection on which nothing comes is probed: after so many seconds, that often. Who has sent
// something itself learns it from retransmissions.
constexpr int probe_s = 1;
constexpr int probe_count = 2;
// After 0.2, 0.6 and 1.4 s on a fast network.
[[maybe_unused]] constexpr int retransmissions_max = 3;

std::string error_text(int error_number) {
    return std::system_category().message(error_number);
}

std::string place(const std::string& host, std::uint16_t port) {
    const bool is_ipv6 = host.find(':') != std::string::npos;
    const std::string name = host.empty() ? "*" : is_ipv6 ? "[" + host + "]" : host;
    return name + ":" + std::to_string(port);
}

IoOutcome outcome_of(ssize_t result) {
    if (result > 0) return {IoState::done, static_cast<std::size_t>(result), 0};
    if (result == 0) return {IoState::closed, 0, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return {IoState::would_block, 0, 0};
    return {IoState::failed, 0, errno};
}

using Addresses = std::unique_ptr<addrinfo, decltype([](addrinfo* list) { ::freeaddrinfo(list); })>;

Result<Addresses> look_up(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                    std::to_string(port).c_str(), &hints, &list);
    if (error == 0) return Addresses(list);
    return fail(ErrorCode::not_found,
                "cannot find an address for '" + host + "': " + ::gai_strerror(error) + ".",
                "Check the name, or give the address as a number.");
}

// The number of the error, 0 when connected.
int connect_to(const addrinfo& address, const Descriptor& socket, Deadline deadline) {
    if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    const WaitFor connected{socket.get(), Readiness::send};
    const auto end = wait_for_any({&connected, 1}, deadline);
    if (!end) return EIO;
    if (*end == WaitEnd::timed_out) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
}

int listen_at(const addrinfo& address, const Descriptor& socket) {
    const int on = 1;
    const int off = 0;
    // A listener that comes again must not wait for old connections to be forgotten.
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.ai_family == AF_INET6)  // "all addresses" are those of IPv4 too
        ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (::bind(socket.get(), address.ai_addr, address.ai_addrlen) != 0) return errno;
    return ::listen(socket.get(), waiting_connections_max) == 0 ? 0 : errno;
}

Descriptor open_socket(const addrinfo& address) {
    constexpr int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    return Descriptor(::socket(address.ai_family, address.ai_socktype | flags, 0));
}

std::uint16_t port_of(const Descriptor& socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace

Result<Socket> Socket::adopt(int descriptor) {
    Socket socket{Descriptor(descriptor)};
    const int flags = ::fcntl(descriptor, F_GETFL);
    if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0 ||
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
        return fail(ErrorCode::io, "cannot use the socket: " + error_text(errno) + ".");
    }
    const int on = 1;
    // These fail on local sockets, which delay nothing and break with their peer.
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#ifdef TCP_KEEPIDLE
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &probe_s, sizeof probe_s);
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof probe_s);
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probe_count, sizeof probe_count);
#endif
    return socket;
}

bool Socket::is_unanswered() const {
#ifdef __linux__
    tcp_info info{};
    socklen_t size = sizeof info;
    return ::getsockopt(descriptor_.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_retransmits >= retransmissions_max;
#else
    return false;
#endif
}

IoOutcome Socket::receive(std::span<std::byte> into) const {
    return outcome_of(::recv(descriptor_.get(), into.data(), into.size(), MSG_DONTWAIT));
}

IoOutcome Socket::send(std::span<const std::byte> bytes) const {
    return outcome_of(
        ::send(descriptor_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

void Socket::finish_sending() const {
    ::shutdown(descriptor_.get(), SHUT_WR);
}

std::string Socket::peer_address() const {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getpeername(descriptor_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return "gone";
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
        const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &ipv4.sin_addr, text.data(), text.size());
        return place(text.data(), ntohs(ipv4.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(address);
        ::inet_ntop(AF_INET6, &ipv6.sin6_addr, text.data(), text.size());
        return place(text.data(), ntohs(ipv6.sin6_port));
    }
    return "this device";
}

std::expected<Descriptor, int> connect_to_first(const addrinfo* addresses, Deadline deadline) {
    std::uint64_t left_count = 0;
    for (const addrinfo* at = addresses; at != nullptr; at = at->ai_next) ++left_count;
    int error = 0;
    for (const addrinfo* at = addresses; at != nullptr; at = at->ai_next, --left_count) {
        const auto share = Deadline::after_us(deadline.left_us() / left_count);
        Descriptor socket = open_socket(*at);
        error = socket.get() < 0 ? errno : connect_to(*at, socket, share.or_sooner(deadline));
        if (error == 0) return socket;
    }
    return std::unexpected(error);
}

Result<Socket> connect_socket(const std::string& host, std::uint16_t port, Deadline deadline) {
    auto addresses = look_up(host, port, AI_NUMERICHOST);
    if (!addresses) addresses = look_up(host, port, AI_ADDRCONFIG);
    if (!addresses) return std::unexpected(std::move(addresses).error());
    auto connected = connect_to_first(addresses->get(), deadline);
    if (connected) return Socket::adopt(connected->release());
    return fail(ErrorCode::unavailable, "cannot connect to " + place(host, port) + ": " +
                                            error_text(connected.error()) + ".");
}

Result<ListeningSocket> ListeningSocket::listen(const std::string& host, std::uint16_t port) {
    EXO_TRY_ASSIGN(const Addresses addresses, look_up(host, port, AI_PASSIVE));
    // IPv6 first: where "all addresses" are meant, its socket takes IPv4 as well.
    int error = EADDRNOTAVAIL;
    for (const int family : {AF_INET6, AF_INET}) {
        for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
            if (at->ai_family != family) continue;
            Descriptor socket = open_socket(*at);
            error = socket.get() < 0 ? errno : listen_at(*at, socket);
            if (error != 0) continue;
            const std::uint16_t bound_port = port_of(socket);
            return ListeningSocket(std::move(socket), bound_port);
        }
    }
    return fail(ErrorCode::io,
                "cannot listen at " + place(host, port) + ": " + error_text(error) + ".",
                error == EADDRINUSE ? "Another program uses the port: choose another one." : "");
}

Result<ListeningSocket> ListeningSocket::adopt(int descriptor) {
    int is_listening = 0;
    socklen_t size = sizeof is_listening;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0 ||
        is_listening == 0) {
        return fail(ErrorCode::io, "the socket that was handed over does not listen.");
    }
    Descriptor socket(descriptor);
    const int flags = ::fcntl(descriptor, F_GETFL);
    if (flags < 0 || ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0 ||
        ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) {
        return fail(ErrorCode::io, "cannot use the socket: " + error_text(errno) + ".");
    }
    const std::uint16_t port = port_of(socket);
    return ListeningSocket(std::move(socket), port);
}

Result<Socket> ListeningSocket::accept(Deadline deadline) const {
    while (true) {
        const int descriptor = ::accept4(descriptor_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (descriptor >= 0) return Socket::adopt(descriptor);
        // The last two: it went away again, or the network has an opinion; the next may be fine.
        const bool again = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ||
                           errno == ECONNABORTED || errno == EPROTO;
        if (!again)
            return fail(ErrorCode::io, "cannot accept connections: " + error_text(errno) + ".");
        const WaitFor incoming{descriptor_.get(), Readiness::receive};
        EXO_TRY_ASSIGN(const WaitEnd end, wait_for_any({&incoming, 1}, deadline));
        if (end == WaitEnd::timed_out)
            return fail(ErrorCode::unavailable, "nobody connected in time.");
    }
}

Result<WaitEnd> wait_for_any(std::span<const WaitFor> sockets, Deadline deadline) {
    std::array<pollfd, 8> few{};
    std::vector<pollfd> many;
    std::span<pollfd> polled(few);
    if (sockets.size() > few.size()) {
        many.resize(sockets.size());
        polled = many;
    }
    polled = polled.first(sockets.size());
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        const Readiness wanted = sockets[i].wanted;
        const int receive = wanted == Readiness::send ? 0 : POLLIN;
        const int send = wanted == Readiness::receive ? 0 : POLLOUT;
        polled[i] = {sockets[i].descriptor, static_cast<short>(receive | send), 0};
    }
    while (true) {
        constexpr std::uint64_t sleep_us_max = 3'600'000'000;  // fits every time_t
        const std::uint64_t left_us = std::min(deadline.left_us(), sleep_us_max);
        const timespec time{static_cast<std::time_t>(left_us / 1'000'000),
                            static_cast<long>(left_us % 1'000'000 * 1000)};
        const int count = ::ppoll(polled.data(), polled.size(), &time, nullptr);
        if (count > 0) return WaitEnd::ready;
        if (count < 0 && errno != EINTR)
            return fail(ErrorCode::io, "cannot wait for a socket: " + error_text(errno) + ".");
        if (deadline.passed()) return WaitEnd::timed_out;
    }
}

}  // namespace exomesh::platform
