// Who may be at the other end of one handshake: asked by OpenSSL in the middle of it, so that
// nobody else gets further.
#pragma once

#include <optional>
#include <span>

#include "base/result.h"
#include "net/openssl.h"
#include "net/peer_id.h"

namespace exomesh::net {

struct PeerCheck {
    std::span<const PeerId> allowed;
    std::optional<PeerId> peer = {};  // who it is, once allowed
    std::optional<Error> error = {};  // why not
};

// For the handshake of `ssl`, which is made from a TlsContext; null takes it away again. Without
// one every peer is refused.
[[nodiscard]] Result<void> attach_peer_check(SSL* ssl, PeerCheck* check);

// Whether both sides speak the protocol of data links.
[[nodiscard]] bool has_data_protocol(const SSL* ssl);

}  // namespace exomesh::net
