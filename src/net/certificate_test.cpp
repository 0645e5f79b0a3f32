#include "net/certificate.h"

#include <gtest/gtest.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "net/testing/hexadecimal.h"
#include "net/testing/spec_certificates.h"

namespace exomesh::net {
namespace {

using testing::from_hexadecimal;

constexpr std::int64_t now = 1'800'000'000;
constexpr std::int64_t day = 86'400;
constexpr const char* libp2p_identifier = "1.3.6.1.4.1.53594.1.1";

struct Made {
    Identity identity;
    OwnCertificate own;

    [[nodiscard]] X509* certificate() const { return own.certificate.get(); }
    void sign_again() const { ASSERT_GT(X509_sign(certificate(), own.key.get(), EVP_sha256()), 0); }
    [[nodiscard]] std::vector<std::byte> der() const {
        unsigned char* bytes = nullptr;
        const int size = i2d_X509(certificate(), &bytes);
        const auto* first = reinterpret_cast<const std::byte*>(bytes);
        std::vector<std::byte> copy(first, first + size);
        OPENSSL_free(bytes);
        return copy;
    }
};

Made make(std::int64_t at = now) {
    auto identity = Identity::generate().value();
    auto own = make_certificate(identity, at).value();
    return {identity, std::move(own)};
}

enum class Critical { no, yes };

void add_extension(const Made& made, const char* identifier, Critical critical) {
    const std::unique_ptr<ASN1_OCTET_STRING, Releaser<ASN1_OCTET_STRING_free>> value(
        ASN1_OCTET_STRING_new());
    ASN1_OCTET_STRING_set(value.get(), raw(std::as_bytes(std::span("\x05"))), 2);
    const std::unique_ptr<ASN1_OBJECT, Releaser<ASN1_OBJECT_free>> object(
        OBJ_txt2obj(identifier, 1));
    const std::unique_ptr<X509_EXTENSION, Releaser<X509_EXTENSION_free>> extension(
        X509_EXTENSION_create_by_OBJ(nullptr, object.get(), critical == Critical::yes ? 1 : 0,
                                     value.get()));
    ASSERT_EQ(X509_add_ext(made.certificate(), extension.get(), -1), 1);
}

void expect_refused(const Made& made, const std::string& why) {
    const auto id = verify_certificate(made.certificate(), now);
    ASSERT_FALSE(id) << "not refused, though it " << why;
    EXPECT_NE(id.error().message.find(why), std::string::npos) << id.error().message;
}

TEST(Certificate, matches_the_vectors_of_the_spec) {
    const auto id_of = [](const char* certificate) {
        const auto id = verify_certificate(from_hexadecimal(certificate), now);
        return id ? id->text() : id.error().message;
    };
    EXPECT_EQ(id_of(testing::spec_ed25519_certificate),
              "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv");
    EXPECT_EQ(id_of(testing::spec_ecdsa_certificate),
              "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE");
    EXPECT_EQ(id_of(testing::spec_secp256k1_certificate),
              "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs");
    EXPECT_EQ(id_of(testing::spec_mismatch_certificate),
              "the certificate is not signed by the device key in it.");
}

TEST(Certificate, names_the_device_that_made_it) {
    const Made made = make();
    const auto id = verify_certificate(made.certificate(), now);
    ASSERT_TRUE(id) << id.error().text();
    EXPECT_EQ(*id, made.identity.peer_id());
    const auto from_der = verify_certificate(made.der(), now);
    ASSERT_TRUE(from_der) << from_der.error().text();
    EXPECT_EQ(*from_der, made.identity.peer_id());
}

TEST(Certificate, has_the_extension_first_and_alone) {
    const Made made = make();
    ASSERT_EQ(X509_get_ext_count(made.certificate()), 1);
    std::array<char, 64> text{};
    OBJ_obj2txt(text.data(), text.size(),
                X509_EXTENSION_get_object(X509_get_ext(made.certificate(), 0)), 1);
    EXPECT_STREQ(text.data(), libp2p_identifier);
}

TEST(Certificate, is_valid_for_clocks_that_differ_a_little) {
    const Made made = make();
    EXPECT_TRUE(verify_certificate(made.certificate(), now - 3500));
    EXPECT_TRUE(verify_certificate(made.certificate(), now + 99 * 365 * day));
    const auto early = verify_certificate(made.certificate(), now - 3700);
    ASSERT_FALSE(early);
    EXPECT_EQ(early.error().message, "the certificate is not valid yet.");
    EXPECT_EQ(early.error().code, ErrorCode::invalid_argument);
    const auto late = verify_certificate(made.certificate(), now + 101 * 366 * day);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().message, "the certificate has expired.");
}

TEST(Certificate, without_the_extension_is_refused) {
    const Made made = make();
    X509_EXTENSION_free(X509_delete_ext(made.certificate(), 0));
    made.sign_again();
    expect_refused(made, "has no libp2p extension");
}

TEST(Certificate, with_another_device_s_extension_is_refused) {
    const Made made = make();
    const Made other = make();
    X509_EXTENSION_free(X509_delete_ext(made.certificate(), 0));
    ASSERT_EQ(X509_add_ext(made.certificate(), X509_get_ext(other.certificate(), 0), -1), 1);
    made.sign_again();
    expect_refused(made, "is not signed by the device key in it");
}

TEST(Certificate, with_two_extensions_is_refused) {
    const Made made = make();
    add_extension(made, libp2p_identifier, Critical::no);
    made.sign_again();
    expect_refused(made, "has two libp2p extensions");
}

TEST(Certificate, with_an_unknown_extension_is_refused_only_if_critical) {
    const Made harmless = make();
    add_extension(harmless, "1.2.3.4.5", Critical::no);
    harmless.sign_again();
    EXPECT_TRUE(verify_certificate(harmless.certificate(), now));
    const Made demanding = make();
    add_extension(demanding, "1.2.3.4.5", Critical::yes);
    demanding.sign_again();
    expect_refused(demanding, "has a critical extension that is not known here");
}

TEST(Certificate, signed_by_another_key_is_refused) {
    const Made made = make();
    const KeyPointer other(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    ASSERT_GT(X509_sign(made.certificate(), other.get(), EVP_sha256()), 0);
    expect_refused(made, "is not signed by its own key");
}

TEST(Certificate, with_a_weak_or_odd_key_is_refused) {
    const Made weak = make();
    ASSERT_GT(X509_sign(weak.certificate(), weak.own.key.get(), EVP_sha1()), 0);
    expect_refused(weak, "has a weak key or signature");
    Made odd = make();
    odd.own.key.reset(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-521"));
    ASSERT_EQ(X509_set_pubkey(odd.certificate(), odd.own.key.get()), 1);
    odd.sign_again();
    expect_refused(odd, "has a key on a curve other than");
}

TEST(Certificate, changed_in_any_byte_never_names_another_device) {
    const Made made = make();
    const auto good = made.der();
    std::size_t accepted_count = 0;
    for (std::size_t i = 0; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= std::byte{0x01};
        const auto id = verify_certificate(bad, now);
        accepted_count += id ? 1 : 0;
        EXPECT_TRUE(!id || *id == made.identity.peer_id()) << i;
    }
    EXPECT_EQ(accepted_count, 0U);
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(verify_certificate(std::span(good).first(size), now));
}

TEST(SignedKey, survives_every_size) {
    for (const std::size_t size : {0, 1, 36, 127, 128, 200, 255, 256, 300, 2000}) {
        const std::vector<std::byte> key(size, std::byte{1});
        const std::vector<std::byte> signature(64, std::byte{2});
        const auto encoded = encode_signed_key({key, signature});
        const auto parsed = parse_signed_key(encoded);
        ASSERT_TRUE(parsed) << size;
        EXPECT_TRUE(std::ranges::equal(parsed->public_key, key));
        EXPECT_TRUE(std::ranges::equal(parsed->signature, signature));
        EXPECT_FALSE(parse_signed_key(std::span(encoded).first(encoded.size() - 1)));
        auto longer = encoded;
        longer.push_back(std::byte{0});
        EXPECT_FALSE(parse_signed_key(longer));
    }
}

TEST(SignedKey, refuses_lengths_that_are_not_minimal) {
    // SEQUENCE { OCTET STRING {}, OCTET STRING {} }, the first length in two bytes.
    EXPECT_TRUE(parse_signed_key(from_hexadecimal("300404000400")));
    EXPECT_FALSE(parse_signed_key(from_hexadecimal("30810404000400")));
    EXPECT_FALSE(parse_signed_key(from_hexadecimal("3082000404000400")));
    EXPECT_FALSE(parse_signed_key(from_hexadecimal("3080040004000000")));
}

}  // namespace
}  // namespace exomesh::net
