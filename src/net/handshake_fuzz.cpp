// Any bytes to who accepts a link: as TLS, from a stranger, or inside TLS, from an allowed peer.
// The first byte picks one; inside TLS the next one picks where a second record begins.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "net/data_link.h"
#include "net/testing/link_pair.h"
#include "net/tls_stream.h"
#include "platform/socket.h"

namespace {

namespace net = exomesh::net;
namespace platform = exomesh::platform;
using net::testing::Device;
using net::testing::patient;

constexpr std::size_t written_bytes_max = 32 << 10;  // every socket takes so much at once

struct Devices {
    Device own = Device::create();
    Device peer = Device::create();
};
const Devices& devices() {
    static const Devices made;
    return made;
}

// It ends by itself: nobody sends more.
void accept(int descriptor) {
    const auto setup =
        net::testing::make_setup(devices().own, 1, 2, {devices().peer.identity.peer_id()});
    auto link = net::DataLink::over_socket(descriptor, net::LinkSide::accepting, setup, patient());
    while (link && link->receive(patient())) continue;
    EXO_ASSERT(link ? !link->is_open() : !link.error().message.empty());
}

void try_stranger(net::Bytes bytes) {
    const auto [end, other_end] = net::testing::make_sockets();
    auto socket = platform::Socket::adopt(other_end);
    EXO_ASSERT(socket.has_value());
    (void)socket->send(bytes);
    socket->finish_sending();
    accept(end);
}

void try_peer(net::Bytes bytes, std::size_t first_size) {
    const auto [end, other_end] = net::testing::make_sockets();
    std::thread peer([&, descriptor = other_end] {
        auto socket = platform::Socket::adopt(descriptor);
        EXO_ASSERT(socket.has_value());
        const auto stream = net::TlsStream::create(*std::move(socket), devices().peer.tls, true);
        EXO_ASSERT(stream.has_value());
        const std::vector<net::PeerId> allowed = {devices().own.identity.peer_id()};
        EXO_ASSERT((*stream)->handshake(allowed, patient()).has_value());
        (void)(*stream)->wait_for_record(0, patient());  // the hello
        for (const net::Bytes record : {bytes.first(first_size), bytes.subspan(first_size)}) {
            if (!record.empty()) EXO_ASSERT((*stream)->encrypt(record).has_value());
        }
        (void)(*stream)->flush();
        (*stream)->close();
    });
    accept(end);
    peer.join();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const net::Bytes bytes =
        std::as_bytes(std::span(data, std::min(size, written_bytes_max))).subspan(2);
    if (data[0] % 2 == 0) {
        try_stranger(bytes);
    } else {
        try_peer(bytes, std::min<std::size_t>(data[1], bytes.size()));
    }
    return 0;
}
