#include "net/certificate.h"

#include <openssl/asn1.h>
#include <openssl/objects.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "net/public_key.h"

namespace exomesh::net {
namespace {

constexpr const char* extension_identifier = "1.3.6.1.4.1.53594.1.1";
constexpr std::string_view signature_prefix = "libp2p-tls-handshake:";
constexpr std::int64_t clock_difference_s_max = 3600;
constexpr int valid_days = 36525;
constexpr int security_bits_min = 112;  // no SHA-1, no RSA below 2048 bits

constexpr auto der_octet_string = std::byte{0x04};
constexpr auto der_sequence = std::byte{0x30};

std::unexpected<Error> refuse(const std::string& why) {
    ERR_clear_error();
    return fail(ErrorCode::corrupt_data, "the certificate " + why + ".");
}

// Takes one DER value with this tag off the front of `bytes`. Lengths must be minimal.
std::optional<std::span<const std::byte>> take_der(std::byte tag,
                                                   std::span<const std::byte>& bytes) {
    if (bytes.size() < 2 || bytes[0] != tag) return std::nullopt;
    std::size_t size = std::to_integer<std::size_t>(bytes[1]);
    std::size_t header_size = 2;
    if (size >= 0x80) {
        const std::size_t digit_count = size & 0x7f;
        if (digit_count < 1 || digit_count > 2 || bytes.size() < 2 + digit_count)
            return std::nullopt;
        size = 0;
        for (std::size_t i = 0; i < digit_count; ++i)
            size = size << 8 | std::to_integer<std::size_t>(bytes[2 + i]);
        if (size < (digit_count == 1 ? 0x80U : 0x100U)) return std::nullopt;
        header_size += digit_count;
    }
    if (size > bytes.size() - header_size) return std::nullopt;
    const auto value = bytes.subspan(header_size, size);
    bytes = bytes.subspan(header_size + size);
    return value;
}

void append_der(std::vector<std::byte>& to, std::byte tag, std::span<const std::byte> value) {
    EXO_ASSERT(value.size() <= 0xffff);
    to.push_back(tag);
    if (value.size() >= 0x100) to.push_back(std::byte{0x82});
    if (value.size() >= 0x100) to.push_back(static_cast<std::byte>(value.size() >> 8));
    if (value.size() >= 0x80 && value.size() < 0x100) to.push_back(std::byte{0x81});
    to.push_back(static_cast<std::byte>(value.size() & 0xff));
    to.insert(to.end(), value.begin(), value.end());
}

// What the device key signs: a fixed text, then the certificate key as SubjectPublicKeyInfo.
std::vector<std::byte> signed_message(X509_PUBKEY* certificate_key) {
    unsigned char* der = nullptr;
    const int size = i2d_X509_PUBKEY(certificate_key, &der);
    if (size <= 0) return {};
    const auto prefix = std::as_bytes(std::span(signature_prefix));
    std::vector<std::byte> message(prefix.begin(), prefix.end());
    const auto* bytes = reinterpret_cast<const std::byte*>(der);
    message.insert(message.end(), bytes, bytes + size);
    OPENSSL_free(der);
    return message;
}

bool is_libp2p_extension(X509_EXTENSION* extension) {
    std::array<char, 64> text{};
    const int size = OBJ_obj2txt(text.data(), static_cast<int>(text.size()),
                                 X509_EXTENSION_get_object(extension), 1);
    return size > 0 && std::string_view(text.data()) == extension_identifier;
}

// The one libp2p extension; other critical ones are refused, since we would not do what they
// demand.
Result<SignedKey> find_signed_key(X509* certificate) {
    X509_EXTENSION* found = nullptr;
    for (int i = 0; i < X509_get_ext_count(certificate); ++i) {
        X509_EXTENSION* extension = X509_get_ext(certificate, i);
        const bool is_ours = is_libp2p_extension(extension);
        if (is_ours && found != nullptr) return refuse("has two libp2p extensions");
        if (is_ours) found = extension;
        if (!is_ours && X509_EXTENSION_get_critical(extension) != 0 &&
            X509_supported_extension(extension) == 0) {
            return refuse("has a critical extension that is not known here");
        }
    }
    if (found == nullptr) return refuse("has no libp2p extension: it names no device");
    const ASN1_OCTET_STRING* value = X509_EXTENSION_get_data(found);
    return parse_signed_key({reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(value)),
                             static_cast<std::size_t>(ASN1_STRING_length(value))});
}

Result<void> check_dates(X509* certificate, std::int64_t now_unix_s) {
    auto now = static_cast<std::time_t>(now_unix_s);
    const int begins = X509_cmp_time(X509_get0_notBefore(certificate), &now);
    const int ends = X509_cmp_time(X509_get0_notAfter(certificate), &now);
    ERR_clear_error();
    if (begins == 0 || ends == 0) return refuse("has dates that cannot be read");
    const char* hint = "Check date and time on both devices.";
    if (begins > 0)
        return fail(ErrorCode::invalid_argument, "the certificate is not valid yet.", hint);
    if (ends < 0) return fail(ErrorCode::invalid_argument, "the certificate has expired.", hint);
    return {};
}

// That whoever made the certificate has the key in it, and that both key and signature are strong.
Result<void> check_own_signature(X509* certificate) {
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    if (key == nullptr) return refuse("has a key of unknown kind");
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        std::array<char, 32> curve{};
        std::size_t size = 0;
        const bool has_name = EVP_PKEY_get_group_name(key, curve.data(), curve.size(), &size) == 1;
        const std::string_view name(curve.data(), has_name ? size : 0);
        if (name != "prime256v1" && name != "secp384r1")
            return refuse("has a key on a curve other than P-256 and P-384");
    }
    int security_bits = 0;
    const bool has_strength =
        X509_get_signature_info(certificate, nullptr, nullptr, &security_bits, nullptr) == 1;
    if (!has_strength || security_bits < security_bits_min ||
        EVP_PKEY_get_security_bits(key) < security_bits_min) {
        return refuse("has a weak key or signature");
    }
    if (X509_verify(certificate, key) != 1) return refuse("is not signed by its own key");
    return {};
}

Result<void> add_extension(X509* certificate, const Identity& identity) {
    const std::vector<std::byte> message = signed_message(X509_get_X509_PUBKEY(certificate));
    EXO_TRY_ASSIGN(const Ed25519Signature signature, identity.sign(message));
    const auto public_key = encode_public_key(identity.public_key());
    const auto value = encode_signed_key({public_key, signature});
    const std::unique_ptr<ASN1_OBJECT, Releaser<ASN1_OBJECT_free>> identifier(
        OBJ_txt2obj(extension_identifier, 1));
    const std::unique_ptr<ASN1_OCTET_STRING, Releaser<ASN1_OCTET_STRING_free>> octets(
        ASN1_OCTET_STRING_new());
    ASN1_OCTET_STRING_set(octets.get(), raw(value), static_cast<int>(value.size()));
    constexpr int critical = 1;
    const std::unique_ptr<X509_EXTENSION, Releaser<X509_EXTENSION_free>> extension(
        X509_EXTENSION_create_by_OBJ(nullptr, identifier.get(), critical, octets.get()));
    // First and alone: js-libp2p reads the first extension whatever it is.
    if (!extension || X509_add_ext(certificate, extension.get(), 0) != 1)
        return fail(ErrorCode::internal,
                    "cannot make a certificate: " + take_openssl_error() + ".");
    return {};
}

}  // namespace

Result<OwnCertificate> make_certificate(const Identity& identity, std::int64_t now_unix_s) {
    OwnCertificate made{CertificatePointer(X509_new()),
                        KeyPointer(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"))};
    X509* certificate = made.certificate.get();
    const auto failed = [] {
        return fail(ErrorCode::internal,
                    "cannot make a certificate: " + take_openssl_error() + ".");
    };
    std::uint64_t serial = 0;
    if (certificate == nullptr || !made.key ||
        RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1) {
        return failed();
    }
    auto now = static_cast<std::time_t>(now_unix_s - clock_difference_s_max);
    X509_NAME* name = X509_get_subject_name(certificate);
    const auto* common_name = reinterpret_cast<const unsigned char*>("exomesh");
    const bool filled =
        X509_set_version(certificate, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1 &&
        X509_time_adj_ex(X509_getm_notBefore(certificate), 0, 0, &now) != nullptr &&
        X509_time_adj_ex(X509_getm_notAfter(certificate), valid_days, 0, &now) != nullptr &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, common_name, -1, -1, 0) == 1 &&
        X509_set_issuer_name(certificate, name) == 1 &&
        X509_set_pubkey(certificate, made.key.get()) == 1;
    if (!filled) return failed();
    EXO_TRY(add_extension(certificate, identity));
    if (X509_sign(certificate, made.key.get(), EVP_sha256()) == 0) return failed();
    return made;
}

Result<PeerId> verify_certificate(X509* certificate, std::int64_t now_unix_s) {
    EXO_TRY(check_dates(certificate, now_unix_s));
    EXO_TRY_ASSIGN(const SignedKey signed_key, find_signed_key(certificate));
    EXO_TRY(check_own_signature(certificate));
    auto key = decode_public_key(signed_key.public_key);
    if (!key) return refuse("names no device: " + key.error().message);
    const auto message = signed_message(X509_get_X509_PUBKEY(certificate));
    const auto verified = verify_signature(*key, message, signed_key.signature);
    if (!verified) return refuse("names no device: " + verified.error().message);
    if (!*verified) return refuse("is not signed by the device key in it");
    return PeerId::of(*key);
}

Result<PeerId> verify_certificate(std::span<const std::byte> der, std::int64_t now_unix_s) {
    if (der.size() > certificate_bytes_max) return refuse("is too large");
    const unsigned char* at = raw(der);
    const CertificatePointer certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
    if (!certificate || at != raw(der) + der.size()) return refuse("cannot be read");
    return verify_certificate(certificate.get(), now_unix_s);
}

Result<SignedKey> parse_signed_key(std::span<const std::byte> der) {
    const auto sequence = take_der(der_sequence, der);
    if (!sequence || !der.empty()) return refuse("has a damaged libp2p extension");
    std::span<const std::byte> rest = *sequence;
    const auto public_key = take_der(der_octet_string, rest);
    const auto signature = take_der(der_octet_string, rest);
    if (!public_key || !signature || !rest.empty()) return refuse("has a damaged libp2p extension");
    return SignedKey{*public_key, *signature};
}

std::vector<std::byte> encode_signed_key(const SignedKey& key) {
    std::vector<std::byte> inside;
    append_der(inside, der_octet_string, key.public_key);
    append_der(inside, der_octet_string, key.signature);
    std::vector<std::byte> encoded;
    append_der(encoded, der_sequence, inside);
    return encoded;
}

}  // namespace exomesh::net
