// The Ed25519 key of this device. Who holds it is this device, so its file is readable by its owner
// alone and its bytes are wiped from memory when no longer needed.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "net/peer_id.h"

namespace exomesh::net {

inline constexpr std::size_t ed25519_signature_size_bytes = 64;
inline constexpr std::size_t encoded_identity_size_bytes = 68;

// A key file of this name lies in the state folder.
inline constexpr const char* device_key_file_name = "device.key";

using Ed25519Signature = std::array<std::byte, ed25519_signature_size_bytes>;

// Copies share the key, which never changes: safe to use from any thread.
class Identity {
  public:
    [[nodiscard]] static Result<Identity> generate();

    // The key in FOLDER/device.key, which is made with a new one where there is none; the folder is
    // made too. Of several processes that start at once all get the same key. io; corrupt_data
    // where the file is damaged (it is left alone).
    [[nodiscard]] static Result<Identity> load_or_generate(const std::string& folder);

    // The secret key as libp2p's protobuf: what the file holds, and what a parent may hand to a
    // child process. Keep it secret.
    [[nodiscard]] static Result<Identity> decode(std::span<const std::byte> encoded);
    [[nodiscard]] std::array<std::byte, encoded_identity_size_bytes> encode() const;

    [[nodiscard]] const PublicKey& public_key() const;
    [[nodiscard]] const PeerId& peer_id() const;
    [[nodiscard]] Result<Ed25519Signature> sign(std::span<const std::byte> message) const;

  private:
    struct Key;
    explicit Identity(std::shared_ptr<const Key> key) : key_(std::move(key)) {}
    static Result<Identity> from_key(void* native);  // takes an EVP_PKEY
    std::shared_ptr<const Key> key_;
};

}  // namespace exomesh::net
