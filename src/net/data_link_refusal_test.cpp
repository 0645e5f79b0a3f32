// Handshakes that must fail: each side says why, and soon.
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "net/certificate.h"
#include "net/data_link.h"
#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "platform/socket.h"

namespace exomesh::net {
namespace {

using testing::Device;
using testing::make_setup;
using testing::patient;
using testing::try_pair;

struct Refusal : ::testing::Test {
    // What both sides say; `change` meddles with the setups first.
    void expect(const std::string& connecting_says, const std::string& accepting_says,
                ErrorCode code = ErrorCode::invalid_argument) {
        const std::uint64_t begin_us = platform::monotonic_us();
        const auto [connected, accepted] = try_pair(connecting, accepting);
        EXPECT_LT(platform::monotonic_us() - begin_us, std::uint64_t{handshake_ms_max} * 1000);
        ASSERT_FALSE(connected);
        ASSERT_FALSE(accepted);
        EXPECT_NE(connected.error().message.find(connecting_says), std::string::npos)
            << connected.error().message;
        EXPECT_NE(accepted.error().message.find(accepting_says), std::string::npos)
            << accepted.error().message;
        EXPECT_EQ(accepted.error().code, code);
        EXPECT_NE(accepted.error().message.find("127.0.0.1:"), std::string::npos)
            << accepted.error().message;
    }

    void give_certificate(OwnCertificate own) const {
        ASSERT_EQ(SSL_CTX_use_certificate(one.tls.native(), own.certificate.get()), 1);
        ASSERT_EQ(SSL_CTX_use_PrivateKey(one.tls.native(), own.key.get()), 1);
    }
    [[nodiscard]] OwnCertificate certificate(std::int64_t shift_s = 0) const {
        return make_certificate(one.identity, platform::unix_s() + shift_s).value();
    }

    Device one = Device::create();
    Device other = Device::create();
    Device stranger = Device::create();
    LinkSetup connecting = make_setup(one, 0, 2, {other.identity.peer_id()});
    LinkSetup accepting = make_setup(other, 1, 2, {one.identity.peer_id()});
    static constexpr const char* refused = "it refused this device";
};

TEST_F(Refusal, none_where_all_is_well) {
    const auto [connected, accepted] = try_pair(connecting, accepting);
    ASSERT_TRUE(connected) << connected.error().text();
    ASSERT_TRUE(accepted) << accepted.error().text();
    EXPECT_EQ(connected->peer_id(), other.identity.peer_id());
    EXPECT_EQ(accepted->peer_id(), one.identity.peer_id());
    EXPECT_EQ(connected->peer_name().find("rank 1 ("), 0U) << connected->peer_name();
    EXPECT_EQ(connected->cipher(), accepted->cipher());
}

TEST_F(Refusal, of_a_peer_that_is_not_the_one_dialled) {
    connecting.allowed_peers = {stranger.identity.peer_id()};
    expect("the peer is " + other.identity.peer_id().text() + ", not " +
               stranger.identity.peer_id().text(),
           "on its list of allowed peers");
}

TEST_F(Refusal, of_a_peer_that_is_not_on_the_list) {
    accepting.allowed_peers = {stranger.identity.peer_id(), other.identity.peer_id()};
    expect("on its list of allowed peers",
           one.identity.peer_id().text() + ", which is not on the list of allowed peers");
}

TEST_F(Refusal, of_a_certificate_without_the_extension) {
    OwnCertificate own = certificate();
    X509_EXTENSION_free(X509_delete_ext(own.certificate.get(), 0));
    ASSERT_GT(X509_sign(own.certificate.get(), own.key.get(), EVP_sha256()), 0);
    give_certificate(std::move(own));
    expect(refused, "has no libp2p extension");
}

TEST_F(Refusal, of_a_certificate_that_borrows_the_extension_of_another) {
    OwnCertificate own = make_certificate(stranger.identity, platform::unix_s()).value();
    const OwnCertificate borrowed = certificate();
    X509_EXTENSION_free(X509_delete_ext(own.certificate.get(), 0));
    ASSERT_EQ(X509_add_ext(own.certificate.get(), X509_get_ext(borrowed.certificate.get(), 0), -1),
              1);
    ASSERT_GT(X509_sign(own.certificate.get(), own.key.get(), EVP_sha256()), 0);
    give_certificate(std::move(own));
    expect(refused, "is not signed by the device key in it");
}

TEST_F(Refusal, of_a_certificate_with_a_bad_signature) {
    OwnCertificate own = certificate();
    const KeyPointer wrong(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    ASSERT_GT(X509_sign(own.certificate.get(), wrong.get(), EVP_sha256()), 0);
    give_certificate(std::move(own));
    expect(refused, "is not signed by its own key");
}

TEST_F(Refusal, of_a_certificate_that_has_expired) {
    constexpr std::int64_t years_101_s = 101LL * 366 * 86'400;
    give_certificate(certificate(-years_101_s));
    expect("whose certificate is not valid by its clock", "has expired");
}

TEST_F(Refusal, of_a_certificate_from_the_future) {
    give_certificate(certificate(86'400));
    expect("whose certificate is not valid by its clock", "is not valid yet");
}

TEST_F(Refusal, of_a_peer_without_a_certificate) {
    SSL_CTX_set_cert_cb(
        one.tls.native(),
        [](SSL* ssl, void*) {
            SSL_certs_clear(ssl);
            return 1;
        },
        nullptr);
    expect(refused, "showed no certificate");
}

TEST_F(Refusal, of_tls_1_2) {
    SSL_CTX_set_min_proto_version(one.tls.native(), TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(one.tls.native(), TLS1_2_VERSION);
    expect("does not speak TLS 1.3", "does not speak TLS 1.3", ErrorCode::corrupt_data);
}

TEST_F(Refusal, of_another_protocol_inside_tls) {
    const auto h2 = std::as_bytes(std::span("\x02h2"));
    ASSERT_EQ(SSL_CTX_set_alpn_protos(one.tls.native(), raw(h2), 3), 0);
    expect("not the protocol of data links", "not the protocol of data links",
           ErrorCode::corrupt_data);
}

TEST_F(Refusal, of_no_protocol_inside_tls) {
    ASSERT_EQ(SSL_CTX_set_alpn_protos(one.tls.native(), nullptr, 0), 0);
    expect("", "not the protocol of data links", ErrorCode::corrupt_data);
}

TEST_F(Refusal, of_another_session_rank_or_plan) {
    accepting.hello.session_id[3] = std::byte{1};
    expect("the session differs", "the session differs");
    accepting.hello.session_id = connecting.hello.session_id;
    accepting.hello.rank_count = 3;
    expect("the number of ranks differs: 2 here, 3 there",
           "the number of ranks differs: 3 here, 2 there");
    accepting.hello.rank_count = 2;
    accepting.hello.rank = 0;
    expect("both ends are rank 0", "both ends are rank 0");
    accepting.hello.rank = 1;
    accepting.hello.plan_checksum[31] = std::byte{1};
    accepting.hello.plan_text = "another model";
    expect(
        "'a model, shares 0.5/0.5, wire q8 090909090909' here, 'another model 090909090909' there",
        "'another model 090909090909' here");
}

TEST_F(Refusal, of_a_rank_that_was_not_meant) {
    connecting.hello.rank_count = accepting.hello.rank_count = 3;
    connecting.peer_rank = 2;
    const auto [connected, accepted] = try_pair(connecting, accepting);
    ASSERT_FALSE(connected);
    EXPECT_NE(connected.error().message.find("it is rank 1, not rank 2"), std::string::npos)
        << connected.error().message;
}

TEST_F(Refusal, to_set_out_without_a_list_or_with_an_impossible_rank) {
    connecting.allowed_peers.clear();
    const auto [connected, accepted] = try_pair(connecting, accepting);
    ASSERT_FALSE(connected);
    EXPECT_EQ(connected.error().code, ErrorCode::invalid_argument);
    EXPECT_FALSE(accepted);
    accepting.hello.rank = 2;
    const auto [ends, end] = testing::make_sockets();
    const auto impossible = DataLink::over_socket(ends, LinkSide::accepting, accepting, patient());
    ASSERT_FALSE(impossible);
    EXPECT_EQ(impossible.error().message, "there is no rank 2 of 2.");
    ::close(end);
}

// What an accepting side says to bytes that are no TLS.
std::string answer_to(const LinkSetup& setup, const std::string& bytes) {
    auto listener = LinkListener::listen("127.0.0.1", 0);
    auto socket = platform::connect_socket("127.0.0.1", listener->port(), patient());
    (void)socket->send(std::as_bytes(std::span(bytes)));
    const auto accepted = listener->accept(setup, patient());
    return accepted ? "accepted" : accepted.error().message;
}

TEST_F(Refusal, of_what_is_no_tls) {
    using std::string_literals::operator""s;
    for (const std::string& bytes :
         {"GET / HTTP/1.1\r\n\r\n"s, "\x16\x03\x01\xff\xff\xff\xff\xff\xff"s,
          "hello there, this is not the port you want"s, "\x17\x03\x03\0\0\0\0\0\0"s}) {
        const std::string message = answer_to(accepting, bytes);
        EXPECT_NE(message.find("the peer at 127.0.0.1:"), std::string::npos) << message;
        EXPECT_EQ(message.find("in time"), std::string::npos) << message;
    }
    EXPECT_NE(answer_to(accepting, "GET / HTTP/1.1\r\n\r\n").find("does not speak TLS 1.3"),
              std::string::npos);
}

TEST_F(Refusal, of_a_peer_that_says_nothing) {
    auto listener = LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    const auto silent = platform::connect_socket("127.0.0.1", listener->port(), patient());
    ASSERT_TRUE(silent);
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto accepted = listener->accept(accepting, Deadline::after_ms(100));
    EXPECT_LT(platform::monotonic_us() - begin_us, 2'000'000U);
    ASSERT_FALSE(accepted);
    EXPECT_EQ(accepted.error().code, ErrorCode::unavailable);
    EXPECT_NE(accepted.error().message.find("in time"), std::string::npos);
}

TEST_F(Refusal, of_a_peer_that_goes_away_amid_the_handshake) {
    const auto [end, other_end] = testing::make_sockets();
    ::close(other_end);
    const auto link = DataLink::over_socket(end, LinkSide::accepting, accepting, patient());
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().message, "the peer at this device: it closed the connection.");
}

TEST_F(Refusal, does_not_stop_a_listener) {
    auto listener = LinkListener::listen("", 0);
    ASSERT_TRUE(listener) << listener.error().text();
    auto refused_setup = make_setup(stranger, 0, 2, {other.identity.peer_id()});
    auto dialled = std::async(std::launch::async, [&] {
        const bool was_refused =
            !DataLink::connect("127.0.0.1", listener->port(), refused_setup, patient());
        auto link = DataLink::connect("localhost", listener->port(), connecting, patient());
        return was_refused && link.has_value();
    });
    EXPECT_FALSE(listener->accept(accepting, patient()));
    const auto accepted = listener->accept(accepting, patient());
    EXPECT_TRUE(accepted) << accepted.error().text();
    EXPECT_TRUE(dialled.get());
}

TEST_F(Refusal, comes_by_the_deadline_where_nobody_listens) {
    std::uint16_t port = 0;
    {
        auto listener = LinkListener::listen("127.0.0.1", 0);
        port = listener->port();
    }
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto link = DataLink::connect("127.0.0.1", port, connecting, Deadline::after_ms(150));
    EXPECT_LT(platform::monotonic_us() - begin_us, 2'000'000U);
    EXPECT_GE(platform::monotonic_us() - begin_us, 150'000U);
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().code, ErrorCode::unavailable);
    EXPECT_NE(link.error().message.find("127.0.0.1:"), std::string::npos);
}

TEST_F(Refusal, is_not_for_a_listener_that_comes_late) {
    std::uint16_t port = 0;
    {
        auto listener = LinkListener::listen("127.0.0.1", 0);
        port = listener->port();
    }
    auto dialled = std::async(std::launch::async, [&] {
        return DataLink::connect("127.0.0.1", port, connecting, patient()).has_value();
    });
    EXPECT_EQ(dialled.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    auto listener = LinkListener::listen("127.0.0.1", port);
    ASSERT_TRUE(listener) << listener.error().text();
    EXPECT_TRUE(listener->accept(accepting, patient()));
    EXPECT_TRUE(dialled.get());
}

}  // namespace
}  // namespace exomesh::net
