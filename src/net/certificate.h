// The certificates of libp2p-TLS: self-signed by a fresh key, with one extension in which the
// device key vouches for that fresh key. They say nothing else: no name, no authority. Spec: libp2p
// tls; the extension's object identifier is 1.3.6.1.4.1.53594.1.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "net/identity.h"
#include "net/openssl.h"
#include "net/peer_id.h"

namespace exomesh::net {

inline constexpr std::size_t certificate_bytes_max = 8192;

struct OwnCertificate {
    CertificatePointer certificate;
    KeyPointer key;  // P-256
};

// Valid from an hour ago, since clocks differ, for 100 years.
[[nodiscard]] Result<OwnCertificate> make_certificate(const Identity& identity,
                                                      std::int64_t now_unix_s);

// Who a peer with this certificate is. All that the spec wants is checked: dates, the certificate's
// own signature, no unknown critical extension, exactly one libp2p extension, and its signature.
// corrupt_data, or invalid_argument where only the dates are wrong (somebody's clock is).
[[nodiscard]] Result<PeerId> verify_certificate(X509* certificate, std::int64_t now_unix_s);

// The same from DER, as it comes in handshakes.
[[nodiscard]] Result<PeerId> verify_certificate(std::span<const std::byte> der,
                                                std::int64_t now_unix_s);

struct SignedKey {
    std::span<const std::byte> public_key;  // into the extension's value
    std::span<const std::byte> signature;
};

// The value of the extension: a DER sequence of two octet strings and nothing else.
[[nodiscard]] Result<SignedKey> parse_signed_key(std::span<const std::byte> der);
[[nodiscard]] std::vector<std::byte> encode_signed_key(const SignedKey& key);

}  // namespace exomesh::net
