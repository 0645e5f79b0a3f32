#include "runner/worker_address.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace exomesh::runner {

namespace {

constexpr std::string_view before_address = "worker listens on ";

}  // namespace

bool is_loopback(std::string_view host) {
    return host.starts_with("127.") || host == "::1" || host == "localhost";
}

Result<WorkerAddress> parse_worker_address(std::string_view text) {
    const auto malformed = [&](const std::string& why) {
        return fail(ErrorCode::invalid_argument,
                    "'" + std::string(text) + "' is no address of a worker: " + why + ".",
                    "`exomesh worker` prints it on its device: HOST:PORT/PEERID.");
    };
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return malformed("it has no /PEERID at its end");
    const std::string_view place = text.substr(0, slash);
    const std::size_t colon = place.rfind(':');
    if (colon == std::string_view::npos) return malformed("it has no :PORT");
    const std::string_view digits = place.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const end = digits.data() + digits.size();
    const auto [after, error] = std::from_chars(digits.data(), end, port);
    if (error != std::errc() || after != end || port == 0) {
        return malformed("'" + std::string(digits) + "' is no port");
    }
    auto peer_id = net::PeerId::parse(text.substr(slash + 1));
    if (!peer_id) return malformed("what stands behind the / is no peer id");
    std::string_view host = place.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    if (host.empty()) return malformed("it has no host");
    const auto is_odd = [](char c) { return c <= ' ' || c > '~' || c == '[' || c == ']'; };
    if (std::ranges::any_of(host, is_odd)) return malformed("its host is no name");
    return WorkerAddress{.host = std::string(host), .port = port, .peer_id = *std::move(peer_id)};
}

std::string address_text(std::string_view host, std::uint16_t port, const net::PeerId& peer_id) {
    const bool is_ipv6 = host.contains(':');
    return (is_ipv6 ? "[" : "") + std::string(host) + (is_ipv6 ? "]" : "") + ":" +
           std::to_string(port) + "/" + peer_id.text();
}

std::string announcement(std::string_view host, std::uint16_t port, const net::PeerId& peer_id) {
    return std::string(before_address) + address_text(host, port, peer_id);
}

Result<WorkerAddress> parse_announcement(std::string_view line) {
    if (!line.starts_with(before_address)) {
        return fail(ErrorCode::internal,
                    "a worker said '" + std::string(line) + "' instead of its address.");
    }
    return parse_worker_address(line.substr(before_address.size()));
}

}  // namespace exomesh::runner
