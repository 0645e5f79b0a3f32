#include "net/public_key.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include <array>

namespace exomesh::net {
namespace {

KeyPointer secp256k1_key(std::span<const std::byte> point) {
    const std::unique_ptr<EVP_PKEY_CTX, Releaser<EVP_PKEY_CTX_free>> context(
        EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
    if (!context || EVP_PKEY_fromdata_init(context.get()) != 1) return nullptr;
    std::array<char, 10> group = {"secp256k1"};
    auto* data = const_cast<std::byte*>(point.data());  // only read
    const std::array<OSSL_PARAM, 3> parameters = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group.data(), 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, data, point.size()),
        OSSL_PARAM_construct_end()};
    EVP_PKEY* key = nullptr;
    EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_PUBLIC_KEY,
                      const_cast<OSSL_PARAM*>(parameters.data()));
    return KeyPointer(key);
}

KeyPointer openssl_key(const PublicKey& key) {
    constexpr std::size_t compressed_point_bytes = 33;
    constexpr int rsa_bits_min = 2048;
    KeyPointer made;
    switch (key.type) {
        case KeyType::ed25519:
            made.reset(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(key.data),
                                                   key.data.size()));
            break;
        case KeyType::secp256k1:
            if (key.data.size() == compressed_point_bytes) made = secp256k1_key(key.data);
            break;
        case KeyType::ecdsa:
            made = parse_subject_public_key(key.data);
            if (made && EVP_PKEY_get_base_id(made.get()) != EVP_PKEY_EC) made.reset();
            break;
        case KeyType::rsa:
            made = parse_subject_public_key(key.data);
            if (made && (EVP_PKEY_get_base_id(made.get()) != EVP_PKEY_RSA ||
                         EVP_PKEY_get_bits(made.get()) < rsa_bits_min)) {
                made.reset();
            }
            break;
    }
    return made;
}

}  // namespace

KeyPointer parse_subject_public_key(std::span<const std::byte> der) {
    const unsigned char* at = raw(der);
    KeyPointer key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der.size())));
    if (key && at != raw(der) + der.size()) key.reset();
    ERR_clear_error();
    return key;
}

Result<bool> verify_signature(const PublicKey& key, std::span<const std::byte> message,
                              std::span<const std::byte> signature) {
    const KeyPointer verifier = openssl_key(key);
    if (!verifier) {
        ERR_clear_error();
        return fail(ErrorCode::corrupt_data, "the public key is not valid.");
    }
    const DigestContextPointer context(EVP_MD_CTX_new());
    const EVP_MD* digest = key.type == KeyType::ed25519 ? nullptr : EVP_sha256();
    const bool verified =
        context &&
        EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, verifier.get()) == 1 &&
        EVP_DigestVerify(context.get(), raw(signature), signature.size(), raw(message),
                         message.size()) == 1;
    ERR_clear_error();
    return verified;
}

}  // namespace exomesh::net
