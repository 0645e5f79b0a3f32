#include "net/testing/link_pair.h"

#include <sys/socket.h>

#include <array>
#include <future>

#include "base/assert.h"

namespace exomesh::net::testing {

Device Device::create() {
    auto identity = Identity::generate();
    EXO_ASSERT(identity.has_value());
    auto tls = TlsContext::create(*identity);
    EXO_ASSERT(tls.has_value());
    return {*identity, *tls};
}

LinkSetup make_setup(const Device& device, std::uint16_t rank, std::uint16_t rank_count,
                     std::vector<PeerId> allowed) {
    Hello hello;
    hello.rank = rank;
    hello.rank_count = rank_count;
    hello.session_id.fill(std::byte{7});
    hello.plan_checksum.fill(std::byte{9});
    hello.plan_text = "a model, shares 0.5/0.5, wire q8";
    return {.tls = device.tls, .hello = std::move(hello), .allowed_peers = std::move(allowed)};
}

std::pair<int, int> make_sockets() {
    std::array<int, 2> ends{};
    EXO_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {ends[0], ends[1]};
}

LinkResults try_pair(const LinkSetup& connecting, const LinkSetup& accepting, Transport transport) {
    if (transport == Transport::local) {
        const auto [one, other] = make_sockets();
        auto accepted = std::async(std::launch::async, [&accepting, end = other] {
            return DataLink::over_socket(end, LinkSide::accepting, accepting, patient());
        });
        auto connected = DataLink::over_socket(one, LinkSide::connecting, connecting, patient());
        return {std::move(connected), accepted.get()};
    }
    auto listener = LinkListener::listen("127.0.0.1", 0);
    EXO_ASSERT(listener.has_value());
    auto accepted = std::async(std::launch::async, [&listener, &accepting] {
        return listener->accept(accepting, patient());
    });
    auto connected = DataLink::connect("127.0.0.1", listener->port(), connecting, patient());
    return {std::move(connected), accepted.get()};
}

std::pair<DataLink, DataLink> make_pair(Transport transport, const LinkOptions& options) {
    const Device one = Device::create();
    const Device other = Device::create();
    LinkSetup connecting = make_setup(one, 0, 2, {other.identity.peer_id()});
    LinkSetup accepting = make_setup(other, 1, 2, {one.identity.peer_id()});
    connecting.options = options;
    accepting.options = options;
    auto [connected, accepted] = try_pair(connecting, accepting, transport);
    EXO_ASSERT(connected.has_value());
    EXO_ASSERT(accepted.has_value());
    return {*std::move(connected), *std::move(accepted)};
}

}  // namespace exomesh::net::testing
