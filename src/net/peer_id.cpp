#include "net/peer_id.h"

#include <openssl/sha.h>

#include <algorithm>
#include <optional>

#include "base/assert.h"

namespace exomesh::net {
namespace {

// Of multihash and CID. All codes used here are below 128, where a varint is one byte.
constexpr auto multihash_identity = std::byte{0x00};
constexpr auto multihash_sha2_256 = std::byte{0x12};
constexpr std::size_t inline_key_bytes_max = 42;
constexpr auto cid_version_1 = std::byte{0x01};
constexpr auto cid_libp2p_key = std::byte{0x72};

// Of the protobuf: field 1 a varint, field 2 bytes.
constexpr auto type_tag = std::byte{0x08};
constexpr auto data_tag = std::byte{0x12};

constexpr std::string_view base58_digits =
    "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
constexpr std::string_view base32_digits = "abcdefghijklmnopqrstuvwxyz234567";

void append_varint(std::vector<std::byte>& to, std::size_t value) {
    for (; value >= 0x80; value >>= 7) to.push_back(static_cast<std::byte>(value | 0x80));
    to.push_back(static_cast<std::byte>(value));
}

// Reads a minimal varint of at most 3 bytes from the front of `bytes`.
std::optional<std::size_t> take_varint(std::span<const std::byte>& bytes) {
    std::size_t value = 0;
    for (std::size_t i = 0; i < 3 && i < bytes.size(); ++i) {
        const auto digit = std::to_integer<std::size_t>(bytes[i]);
        value |= (digit & 0x7f) << (7 * i);
        if ((digit & 0x80) != 0) continue;
        if (digit == 0 && i > 0) return std::nullopt;  // overlong
        bytes = bytes.subspan(i + 1);
        return value;
    }
    return std::nullopt;
}

// Big-endian numbers in another base; leading zero bytes become leading zero digits.
std::string to_base58(std::span<const std::byte> bytes) {
    std::vector<unsigned> digits;  // little-endian
    for (const std::byte byte : bytes) {
        auto carry = std::to_integer<unsigned>(byte);
        for (unsigned& digit : digits) {
            carry += digit * 256;
            digit = carry % 58;
            carry /= 58;
        }
        for (; carry > 0; carry /= 58) digits.push_back(carry % 58);
    }
    const auto zeros = std::ranges::find_if(bytes, [](std::byte b) { return b != std::byte{0}; });
    std::string text(static_cast<std::size_t>(zeros - bytes.begin()), base58_digits[0]);
    for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit)
        text += base58_digits[*digit];
    return text;
}

std::optional<std::vector<std::byte>> from_base58(std::string_view text) {
    std::vector<std::byte> bytes;  // little-endian until the end
    for (const char character : text) {
        const std::size_t digit = base58_digits.find(character);
        if (digit == std::string_view::npos) return std::nullopt;
        std::size_t carry = digit;
        for (std::byte& byte : bytes) {
            carry += std::to_integer<std::size_t>(byte) * 58;
            byte = static_cast<std::byte>(carry & 0xff);
            carry >>= 8;
        }
        for (; carry > 0; carry >>= 8) bytes.push_back(static_cast<std::byte>(carry & 0xff));
    }
    const std::size_t zeros = std::min(text.find_first_not_of(base58_digits[0]), text.size());
    bytes.resize(bytes.size() + zeros);
    std::ranges::reverse(bytes);
    return bytes;
}

std::optional<std::vector<std::byte>> from_base32(std::string_view text) {
    std::vector<std::byte> bytes;
    unsigned bits = 0;
    unsigned bit_count = 0;
    for (const char character : text) {
        const std::size_t digit = base32_digits.find(character);
        if (digit == std::string_view::npos) return std::nullopt;
        bits = (bits << 5) | static_cast<unsigned>(digit);
        bit_count += 5;
        if (bit_count < 8) continue;
        bit_count -= 8;
        bytes.push_back(static_cast<std::byte>((bits >> bit_count) & 0xff));
        bits &= (1U << bit_count) - 1;
    }
    if (bits != 0 || bit_count >= 5) return std::nullopt;
    return bytes;
}

bool is_multihash(std::span<const std::byte> bytes) {
    if (bytes.size() < 3 || std::to_integer<std::size_t>(bytes[1]) != bytes.size() - 2)
        return false;
    if (bytes[0] == multihash_sha2_256) return bytes.size() == 2 + SHA256_DIGEST_LENGTH;
    return bytes[0] == multihash_identity && bytes.size() <= 2 + inline_key_bytes_max;
}

}  // namespace

std::vector<std::byte> encode_public_key(const PublicKey& key) {
    EXO_ASSERT(key.data.size() <= public_key_data_bytes_max);
    std::vector<std::byte> encoded = {type_tag, static_cast<std::byte>(key.type), data_tag};
    append_varint(encoded, key.data.size());
    encoded.insert(encoded.end(), key.data.begin(), key.data.end());
    return encoded;
}

Result<PublicKey> decode_public_key(std::span<const std::byte> encoded) {
    const auto bad = [](const char* what) {
        return fail(ErrorCode::corrupt_data, std::string("this is no public key: ") + what + ".");
    };
    if (encoded.size() < 4 || encoded[0] != type_tag || encoded[2] != data_tag)
        return bad("it does not begin with a key type and data");
    const auto type = std::to_integer<int>(encoded[1]);
    if (type > static_cast<int>(KeyType::ecdsa)) return bad("its type is unknown");
    std::span<const std::byte> rest = encoded.subspan(3);
    const auto size = take_varint(rest);
    if (!size || *size != rest.size()) return bad("its size is wrong");
    if (*size > public_key_data_bytes_max) return bad("it is too long");
    PublicKey key{static_cast<KeyType>(type), {rest.begin(), rest.end()}};
    if (key.type == KeyType::ed25519 && key.data.size() != ed25519_key_size_bytes)
        return bad("an Ed25519 key has 32 bytes");
    return key;
}

PeerId PeerId::of(const PublicKey& key) {
    const std::vector<std::byte> encoded = encode_public_key(key);
    std::vector<std::byte> multihash;
    if (encoded.size() <= inline_key_bytes_max) {
        multihash = {multihash_identity, static_cast<std::byte>(encoded.size())};
        multihash.insert(multihash.end(), encoded.begin(), encoded.end());
        return PeerId(std::move(multihash));
    }
    multihash = {multihash_sha2_256, std::byte{SHA256_DIGEST_LENGTH}};
    multihash.resize(2 + SHA256_DIGEST_LENGTH);
    SHA256(reinterpret_cast<const unsigned char*>(encoded.data()), encoded.size(),
           reinterpret_cast<unsigned char*>(multihash.data() + 2));
    return PeerId(std::move(multihash));
}

Result<PeerId> PeerId::from_bytes(std::span<const std::byte> multihash) {
    if (!is_multihash(multihash))
        return fail(ErrorCode::corrupt_data, "these bytes are no peer id.");
    return PeerId({multihash.begin(), multihash.end()});
}

Result<PeerId> PeerId::parse(std::string_view text) {
    std::optional<std::vector<std::byte>> bytes;
    if (text.size() > peer_id_text_length_max) {
        text = text.substr(0, peer_id_text_length_max);
    } else if (text.starts_with("1") || text.starts_with("Qm")) {
        bytes = from_base58(text);
    } else if (text.starts_with("b")) {
        bytes = from_base32(text.substr(1));
        const bool is_key = bytes && bytes->size() > 2 && (*bytes)[0] == cid_version_1 &&
                            (*bytes)[1] == cid_libp2p_key;
        if (is_key) bytes->erase(bytes->begin(), bytes->begin() + 2);
        if (!is_key) bytes.reset();
    }
    if (!bytes || !is_multihash(*bytes)) {
        return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is no peer id.",
                    "A peer id looks like 12D3KooW... and is copied whole.");
    }
    return PeerId(*std::move(bytes));
}

std::string PeerId::text() const {
    return to_base58(multihash_);
}

std::string PeerId::short_text() const {
    const std::string whole = text();
    constexpr std::size_t length = 8;
    return whole.size() <= length ? whole : whole.substr(whole.size() - length);
}

}  // namespace exomesh::net
