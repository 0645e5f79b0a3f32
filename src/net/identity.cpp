#include "net/identity.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "net/openssl.h"
#include "platform/private_file.h"

namespace exomesh::net {
namespace {

// libp2p's protobuf of a private key: type Ed25519, then 64 bytes: the seed and the public key.
constexpr std::array encoded_prefix = {std::byte{0x08}, std::byte{0x01}, std::byte{0x12},
                                       std::byte{0x40}};
static_assert(encoded_prefix.size() + 2 * ed25519_key_size_bytes == encoded_identity_size_bytes);

// Wipes secret bytes when it goes out of scope.
class Wiper {
  public:
    explicit Wiper(std::span<std::byte> bytes) : bytes_(bytes) {}
    Wiper(const Wiper&) = delete;
    Wiper& operator=(const Wiper&) = delete;
    ~Wiper() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  private:
    std::span<std::byte> bytes_;
};

}  // namespace

struct Identity::Key {
    KeyPointer secret;
    PublicKey public_key;
    PeerId peer_id;
};

Result<Identity> Identity::from_key(void* native) {
    KeyPointer secret(static_cast<EVP_PKEY*>(native));
    if (!secret)
        return fail(ErrorCode::internal, "cannot make a device key: " + take_openssl_error() + ".");
    PublicKey public_key{KeyType::ed25519, std::vector<std::byte>(ed25519_key_size_bytes)};
    std::size_t size = public_key.data.size();
    EXO_ASSERT(EVP_PKEY_get_raw_public_key(secret.get(), raw_output(public_key.data), &size) == 1);
    EXO_ASSERT(size == ed25519_key_size_bytes);
    PeerId peer_id = PeerId::of(public_key);
    return Identity(std::make_shared<const Key>(
        Key{std::move(secret), std::move(public_key), std::move(peer_id)}));
}

Result<Identity> Identity::generate() {
    return from_key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
}

Result<Identity> Identity::decode(std::span<const std::byte> encoded) {
    const bool begins_right =
        encoded.size() == encoded_identity_size_bytes &&
        std::ranges::equal(encoded.first(encoded_prefix.size()), encoded_prefix);
    if (!begins_right) return fail(ErrorCode::corrupt_data, "these bytes are no device key.");
    const auto seed = encoded.subspan(encoded_prefix.size(), ed25519_key_size_bytes);
    EXO_TRY_ASSIGN(Identity identity, from_key(EVP_PKEY_new_raw_private_key(
                                          EVP_PKEY_ED25519, nullptr, raw(seed), seed.size())));
    if (!std::ranges::equal(identity.public_key().data, encoded.last(ed25519_key_size_bytes))) {
        return fail(ErrorCode::corrupt_data,
                    "the secret and the public half of the device key do not match.");
    }
    return identity;
}

std::array<std::byte, encoded_identity_size_bytes> Identity::encode() const {
    std::array<std::byte, encoded_identity_size_bytes> encoded{};
    std::ranges::copy(encoded_prefix, encoded.begin());
    const auto seed = std::span(encoded).subspan(encoded_prefix.size(), ed25519_key_size_bytes);
    std::size_t size = seed.size();
    EXO_ASSERT(EVP_PKEY_get_raw_private_key(key_->secret.get(), raw_output(seed), &size) == 1);
    EXO_ASSERT(size == ed25519_key_size_bytes);
    std::ranges::copy(key_->public_key.data, encoded.end() - ed25519_key_size_bytes);
    return encoded;
}

Result<Identity> Identity::load_or_generate(const std::string& folder) {
    const std::string path = (std::filesystem::path(folder) / device_key_file_name).string();
    auto bytes = platform::read_private_file(path);
    if (!bytes && bytes.error().code == ErrorCode::not_found) {
        EXO_TRY_ASSIGN(Identity fresh, generate());
        auto encoded = fresh.encode();
        const Wiper wiper(encoded);
        EXO_TRY(platform::create_private_file(path, encoded));
        // What lies there now, should another process have been first.
        bytes = platform::read_private_file(path);
    }
    if (!bytes) return std::unexpected(std::move(bytes).error());
    const Wiper wiper(*bytes);
    auto identity = decode(*bytes);
    if (!identity) {
        return fail(identity.error().code, "the device key in '" + path + "' is damaged.",
                    "Restore it from a backup. Deleting it gives this device a new identity, which "
                    "its cluster does not know.");
    }
    return identity;
}

const PublicKey& Identity::public_key() const {
    return key_->public_key;
}

const PeerId& Identity::peer_id() const {
    return key_->peer_id;
}

Result<Ed25519Signature> Identity::sign(std::span<const std::byte> message) const {
    Ed25519Signature signature{};
    std::size_t size = signature.size();
    const DigestContextPointer context(EVP_MD_CTX_new());
    const bool is_signed =
        context &&
        EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_->secret.get()) == 1 &&
        EVP_DigestSign(context.get(), raw_output(signature), &size, raw(message), message.size()) ==
            1;
    if (!is_signed)
        return fail(ErrorCode::internal,
                    "cannot sign with the device key: " + take_openssl_error() + ".");
    EXO_ASSERT(size == signature.size());
    return signature;
}

}  // namespace exomesh::net
