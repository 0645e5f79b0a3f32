#include "net/tls_context.h"

#include <algorithm>
#include <string_view>

#include "net/certificate.h"
#include "net/openssl.h"
#include "net/peer_check.h"
#include "platform/clock.h"

namespace exomesh::net {
namespace {

// As ALPN writes it: a length, then the name.
constexpr std::string_view data_protocol =
    "\x0e"
    "exomesh-data/1";
static_assert(data_protocol[0] == static_cast<char>(data_protocol.size() - 1));

constexpr const char* ciphers_with_aes = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr const char* ciphers_without_aes = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

int peer_check_index() {
    static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
    return index;
}

Result<PeerId> judge(X509_STORE_CTX* store, const PeerCheck& check) {
    const STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(store);
    if (sent != nullptr && sk_X509_num(sent) != 1)
        return fail(ErrorCode::corrupt_data, "the peer sent more than one certificate.");
    EXO_TRY_ASSIGN(PeerId peer,
                   verify_certificate(X509_STORE_CTX_get0_cert(store), platform::unix_s()));
    if (std::ranges::find(check.allowed, peer) != check.allowed.end()) return peer;
    const bool wants_one = check.allowed.size() == 1;
    return fail(ErrorCode::unsupported,
                "the peer is " + peer.text() +
                    (wants_one ? ", not " + check.allowed[0].text()
                               : ", which is not on the list of allowed peers") +
                    ".");
}

// The code decides which alert the peer gets: tls_stream.cpp puts the alerts into words.
int alert_code(ErrorCode code) {
    if (code == ErrorCode::unsupported) return X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
    if (code == ErrorCode::invalid_argument) return X509_V_ERR_CERT_HAS_EXPIRED;
    return X509_V_ERR_CERT_REJECTED;
}

int verify_peer(X509_STORE_CTX* store, void* /*unused*/) {
    const int ssl_index = SSL_get_ex_data_X509_STORE_CTX_idx();
    auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, ssl_index));
    auto* check = static_cast<PeerCheck*>(SSL_get_ex_data(ssl, peer_check_index()));
    if (check == nullptr) return 0;
    auto peer = judge(store, *check);
    if (peer) {
        check->peer = *std::move(peer);
        return 1;
    }
    X509_STORE_CTX_set_error(store, alert_code(peer.error().code));
    check->error = std::move(peer).error();
    check->error->code = ErrorCode::invalid_argument;
    return 0;
}

int choose_protocol(SSL* /*ssl*/, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void* /*unused*/) {
    unsigned char* found = nullptr;
    const int result =
        SSL_select_next_proto(&found, chosen_size, raw(std::as_bytes(std::span(data_protocol))),
                              static_cast<unsigned>(data_protocol.size()), offered, offered_size);
    if (result != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<void> attach_peer_check(SSL* ssl, PeerCheck* check) {
    if (SSL_set_ex_data(ssl, peer_check_index(), check) == 1) return {};
    return fail(ErrorCode::internal, "cannot set up TLS: " + take_openssl_error() + ".");
}

bool has_data_protocol(const SSL* ssl) {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl, &name, &size);
    return std::string_view(reinterpret_cast<const char*>(name), size) == data_protocol.substr(1);
}

Result<TlsContext> TlsContext::create(const Identity& identity, platform::AesSupport aes) {
    EXO_TRY_ASSIGN(const OwnCertificate own, make_certificate(identity, platform::unix_s()));
    const std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_method()), SSL_CTX_free);
    const bool has_aes = aes == platform::AesSupport::instructions;
    const bool set =
        context && SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_ciphersuites(context.get(), has_aes ? ciphers_with_aes : ciphers_without_aes) ==
            1 &&
        SSL_CTX_use_certificate(context.get(), own.certificate.get()) == 1 &&
        SSL_CTX_use_PrivateKey(context.get(), own.key.get()) == 1 &&
        SSL_CTX_set_num_tickets(context.get(), 0) == 1 &&
        SSL_CTX_set_alpn_protos(context.get(), raw(std::as_bytes(std::span(data_protocol))),
                                static_cast<unsigned>(data_protocol.size())) == 0;
    if (!set) return fail(ErrorCode::internal, "cannot set up TLS: " + take_openssl_error() + ".");
    SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
    SSL_CTX_set_max_cert_list(context.get(), certificate_bytes_max);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    // The cipher that suits the weaker of the two: ChaCha20 where either has no AES instructions.
    SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_cert_verify_callback(context.get(), verify_peer, nullptr);
    return TlsContext(context, identity.peer_id());
}

}  // namespace exomesh::net
