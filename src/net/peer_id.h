// The name of a device in every libp2p network: the multihash of its public key.
// Spec: libp2p peer-ids; text form base58btc ("12D3KooW..."), CIDv1 base32 is read too.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exomesh::net {

inline constexpr std::size_t ed25519_key_size_bytes = 32;
inline constexpr std::size_t public_key_data_bytes_max = 2048;  // RSA of 8192 bits has 1062
inline constexpr std::size_t peer_id_text_length_max = 128;

using Ed25519PublicKey = std::array<std::byte, ed25519_key_size_bytes>;

enum class KeyType { rsa = 0, ed25519 = 1, secp256k1 = 2, ecdsa = 3 };

// Ed25519: the 32 bytes. secp256k1: the compressed point. The others: a SubjectPublicKeyInfo in
// DER.
struct PublicKey {
    KeyType type = KeyType::ed25519;
    std::vector<std::byte> data;

    friend bool operator==(const PublicKey&, const PublicKey&) = default;
};

// libp2p's protobuf of it, in its one canonical encoding.
[[nodiscard]] std::vector<std::byte> encode_public_key(const PublicKey& key);

// corrupt_data for what is no canonical encoding of a key of known type. The point itself is not
// looked at.
[[nodiscard]] Result<PublicKey> decode_public_key(std::span<const std::byte> encoded);

class PeerId {
  public:
    [[nodiscard]] static PeerId of(const PublicKey& key);

    // Either text form. invalid_argument where it is none: peers are named by people.
    [[nodiscard]] static Result<PeerId> parse(std::string_view text);

    // A multihash: identity of at most 42 bytes, or SHA2-256.
    [[nodiscard]] static Result<PeerId> from_bytes(std::span<const std::byte> multihash);

    [[nodiscard]] std::span<const std::byte> bytes() const { return multihash_; }
    [[nodiscard]] std::string text() const;        // base58btc
    [[nodiscard]] std::string short_text() const;  // its last 8 characters, for logs

    friend auto operator<=>(const PeerId&, const PeerId&) = default;
    friend bool operator==(const PeerId&, const PeerId&) = default;

  private:
    explicit PeerId(std::vector<std::byte> multihash) : multihash_(std::move(multihash)) {}
    std::vector<std::byte> multihash_;
};

}  // namespace exomesh::net
