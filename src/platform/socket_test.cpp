#include "platform/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace exomesh::platform {
namespace {

Deadline patient() {
    return Deadline::after_ms(20'000);
}

struct Pair {
    Socket one;
    Socket other;
};

Pair connect_pair(const std::string& host) {
    auto listener = ListeningSocket::listen(host, 0).value();
    auto one = connect_socket(host, listener.port(), patient()).value();
    auto other = listener.accept(patient()).value();
    return {std::move(one), std::move(other)};
}

void expect_wait(const Socket& socket, Readiness wanted, WaitEnd expected, Deadline deadline) {
    const WaitFor wait{socket.descriptor(), wanted};
    const auto end = wait_for_any({&wait, 1}, deadline);
    ASSERT_TRUE(end) << end.error().text();
    EXPECT_EQ(*end, expected);
}

TEST(Deadline, of_for_ever_does_not_overflow) {
    EXPECT_FALSE(Deadline::after_us(UINT64_MAX).passed());
    EXPECT_FALSE(Deadline::after_ms(UINT64_MAX).passed());
    EXPECT_TRUE(Deadline::after_us(0).passed());
    EXPECT_EQ(Deadline::after_us(0).left_us(), 0U);
    EXPECT_TRUE(Deadline::after_ms(1000).or_sooner(Deadline::after_us(0)).passed());
}

TEST(ListeningSocket, goes_on_for_who_had_it_before) {
    const auto first = ListeningSocket::listen("127.0.0.1", 0).value();
    const auto early = connect_socket("127.0.0.1", first.port(), patient());
    ASSERT_TRUE(early) << early.error().text();
    const auto second = ListeningSocket::adopt(::dup(first.descriptor()));
    ASSERT_TRUE(second) << second.error().text();
    EXPECT_EQ(second->port(), first.port());
    EXPECT_NE(::fcntl(second->descriptor(), F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_TRUE(second->accept(patient()));
    EXPECT_FALSE(second->accept(Deadline::after_ms(1)));
}

TEST(ListeningSocket, refuses_what_does_not_listen) {
    const Pair pair = connect_pair("127.0.0.1");
    for (const int descriptor : {pair.one.descriptor(), 0, 12'345}) {
        const auto adopted = ListeningSocket::adopt(descriptor);
        ASSERT_FALSE(adopted) << descriptor;
        EXPECT_EQ(adopted.error().code, ErrorCode::io);
    }
}

TEST(Socket, carries_bytes_and_never_blocks) {
    const Pair pair = connect_pair("127.0.0.1");
    EXPECT_EQ(pair.one.peer_address().find("127.0.0.1:"), 0U);
    std::array<std::byte, 10> bytes{};
    EXPECT_EQ(pair.other.receive(bytes).state, IoState::would_block);
    expect_wait(pair.other, Readiness::receive, WaitEnd::timed_out, Deadline::after_ms(10));
    bytes.fill(std::byte{3});
    EXPECT_EQ(pair.one.send(bytes).size_bytes, bytes.size());
    expect_wait(pair.other, Readiness::receive, WaitEnd::ready, patient());
    std::array<std::byte, 20> received{};
    EXPECT_EQ(pair.other.receive(received).size_bytes, bytes.size());
    EXPECT_EQ(received[9], std::byte{3});
}

TEST(Socket, tells_when_it_is_full_closed_or_broken) {
    Pair pair = connect_pair("127.0.0.1");
    const std::vector<std::byte> bytes(1 << 20);
    while (pair.one.send(bytes).state == IoState::done) continue;
    EXPECT_EQ(pair.one.send(bytes).state, IoState::would_block);
    expect_wait(pair.one, Readiness::send, WaitEnd::timed_out, Deadline::after_ms(10));
    pair.one.finish_sending();
    std::vector<std::byte> into(1 << 20);
    IoOutcome last{};
    do {
        expect_wait(pair.other, Readiness::receive, WaitEnd::ready, patient());
        last = pair.other.receive(into);
    } while (last.state == IoState::done);
    EXPECT_EQ(last.state, IoState::closed);
    EXPECT_EQ(pair.one.send(bytes).state, IoState::failed);  // and no signal ends the program
}

TEST(Socket, speaks_ipv6_where_the_device_does) {
    if (!ListeningSocket::listen("::1", 0)) GTEST_SKIP() << "no IPv6 here";
    const Pair pair = connect_pair("::1");
    EXPECT_EQ(pair.one.peer_address().find("[::1]:"), 0U);
}

TEST(Socket, tells_who_cannot_be_reached) {
    const std::uint16_t port = ListeningSocket::listen("127.0.0.1", 0).value().port();
    const auto refused = connect_socket("127.0.0.1", port, patient());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
    EXPECT_EQ(refused.error().message.find("cannot connect to 127.0.0.1:"), 0U);
    const auto unknown = connect_socket("no.such.host.invalid", 1, patient());
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code, ErrorCode::not_found);
}

// An address of the loopback network, as a lookup would list it.
struct ListedAddress {
    sockaddr_in address{};
    addrinfo listed{};

    ListedAddress(const char* host, std::uint16_t port) {
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        EXPECT_EQ(::inet_pton(AF_INET, host, &address.sin_addr), 1);
        listed.ai_family = AF_INET;
        listed.ai_socktype = SOCK_STREAM;
        listed.ai_addrlen = sizeof address;
        listed.ai_addr = reinterpret_cast<sockaddr*>(&address);
    }
    ListedAddress(const ListedAddress&) = delete;
    ListedAddress& operator=(const ListedAddress&) = delete;
};

#ifdef __linux__  // elsewhere a full queue may refuse instead of keeping silent
TEST(Socket, leaves_time_for_the_addresses_behind_one_that_does_not_answer) {
    const auto listener = ListeningSocket::listen("127.0.0.1", 0).value();
    ListedAddress dead("127.0.0.2", listener.port());
    ListedAddress good("127.0.0.1", listener.port());
    // Nobody takes what waits at this one: once its queue is full, the system answers no more.
    const Descriptor full(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(full.get(), dead.listed.ai_addr, dead.listed.ai_addrlen), 0);
    ASSERT_EQ(::listen(full.get(), 0), 0);
    std::vector<Descriptor> waiting;
    bool is_dead = false;
    while (!is_dead && waiting.size() < 20) {
        auto one = connect_to_first(&dead.listed, Deadline::after_ms(200));
        is_dead = !one;
        if (one) waiting.push_back(*std::move(one));
    }
    ASSERT_TRUE(is_dead);
    dead.listed.ai_next = &good.listed;
    const auto deadline = Deadline::after_ms(2000);
    EXPECT_TRUE(connect_to_first(&dead.listed, deadline));
    EXPECT_FALSE(deadline.passed());
}
#endif

TEST(ListeningSocket, waits_until_the_deadline_and_shares_no_port) {
    const auto listener = ListeningSocket::listen("", 0).value();
    const auto nobody = listener.accept(Deadline::after_ms(10));
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(connect_socket("127.0.0.1", listener.port(), patient()));
    const auto taken = ListeningSocket::listen("", listener.port());
    ASSERT_FALSE(taken);
    EXPECT_NE(taken.error().hint.find("another"), std::string::npos);
}

}  // namespace
}  // namespace exomesh::platform
