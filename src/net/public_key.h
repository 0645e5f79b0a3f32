// Public keys of libp2p as OpenSSL's, to verify signatures with.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "net/openssl.h"
#include "net/peer_id.h"

namespace exomesh::net {

// A SubjectPublicKeyInfo in DER, with nothing behind it; null where it is none.
[[nodiscard]] KeyPointer parse_subject_public_key(std::span<const std::byte> der);

// Whether `signature` over `message` is by `key`, as libp2p signs with keys of its type. An error
// where the key is no valid one of its type.
[[nodiscard]] Result<bool> verify_signature(const PublicKey& key,
                                            std::span<const std::byte> message,
                                            std::span<const std::byte> signature);

}  // namespace exomesh::net
