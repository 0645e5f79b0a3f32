// Peers and networks that misbehave once a link stands: detected, named, and never a hang.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "net/data_link.h"
#include "net/testing/link_pair.h"
#include "net/testing/relay.h"
#include "net/tls_stream.h"
#include "platform/clock.h"
#include "platform/socket.h"

namespace exomesh::net {
namespace {

using testing::Device;
using testing::make_pair;
using testing::make_setup;
using testing::patient;

constexpr FrameType sums = FrameType::first_of_caller;

void expect_message(const Error& error, const std::string& words) {
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
}

// An allowed peer that then writes whatever it wants inside TLS.
std::string answer_to(const std::vector<std::vector<std::byte>>& records) {
    const Device device = Device::create();
    const Device rogue = Device::create();
    const auto [end, rogue_end] = testing::make_sockets();
    auto rogue_run = std::async(std::launch::async, [&, descriptor = rogue_end] {
        auto socket = platform::Socket::adopt(descriptor);
        auto stream = TlsStream::create(*std::move(socket), rogue.tls, true);
        const std::vector<PeerId> allowed = {device.identity.peer_id()};
        if (!(*stream)->handshake(allowed, patient())) return;
        if (!(*stream)->wait_for_record(0, patient())) return;  // the device's hello
        for (const auto& record : records) {
            if (!(*stream)->encrypt(record)) return;
        }
        EXPECT_TRUE((*stream)->flush());
        (*stream)->close();
    });
    const auto setup = make_setup(device, 1, 2, {rogue.identity.peer_id()});
    auto link = DataLink::over_socket(end, LinkSide::accepting, setup, patient());
    std::string said = link ? "" : link.error().message;
    if (link) {
        const auto message = link->receive(patient());
        said = message ? "received" : message.error().message;
        EXPECT_EQ(link->is_open(), message.has_value());
        if (!message) expect_message(message.error(), "rank 0 (");
    }
    rogue_run.get();
    return said;
}

std::vector<std::byte> frame(FrameHeader header, std::size_t real_size) {
    const auto head = encode_frame_header(header);
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.resize(bytes.size() + real_size);
    return bytes;
}

std::vector<std::byte> hello_frame() {
    const Device any = Device::create();
    const auto payload = encode_hello(make_setup(any, 0, 2, {}).hello).value();
    auto bytes = frame({FrameType::hello, 0, static_cast<std::uint32_t>(payload.size())}, 0);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

TEST(RoguePeer, is_named_whatever_it_sends) {
    const auto hello = hello_frame();
    EXPECT_EQ(answer_to({hello, frame({sums, 1, 10}, 10)}), "received");
    const auto expect = [&](const std::vector<std::byte>& record, const std::string& words) {
        const std::string said = answer_to({hello, record});
        EXPECT_NE(said.find(words), std::string::npos) << said;
    };
    expect(frame({sums, 1, 100}, 10), "it closed the link");  // truncated
    expect(frame({sums, 1, 100'000}, 10), "it closed the link");
    expect(frame({sums, 1, 10}, 11), "more behind the frame than it announced");
    expect(frame({sums, 1, 16'384}, 20'000), "more behind the frame than it announced");
    expect(frame({sums, 0, 10}, 10), "has number 0 where 1 was to come");  // replayed
    expect(frame({sums, 2, 10}, 10), "has number 2 where 1 was to come");  // one is missing
    expect(frame({sums, 1, frame_payload_bytes_max + 1}, 10), "are allowed");
    expect(frame({FrameType{3}, 1, 0}, 0), "unknown type 3");
    expect(frame({FrameType::hello, 1, 0}, 0), "a hello is the first frame");
    expect(std::vector<std::byte>(5), "this is no frame");
    expect(std::vector<std::byte>(100), "this is no frame");
}

TEST(RoguePeer, is_refused_where_its_hello_is_none) {
    const auto expect = [](const std::vector<std::byte>& record, const std::string& words) {
        const std::string said = answer_to({record});
        EXPECT_NE(said.find(words), std::string::npos) << said;
    };
    expect(frame({sums, 0, 10}, 10), "a hello is the first frame");
    expect(frame({FrameType::hello, 0, 10}, 10), "the hello is too short");
    expect(frame({FrameType::hello, 0, 60'000'000}, 10), "the hello is too long");
    expect(frame({FrameType::hello, 0, 56}, 56), "impossible rank");
}

// Two links with someone between them who changes what flows from zero to one.
struct Meddled {
    std::atomic<bool> is_meddling = false;
    testing::Relay relay;
    std::optional<DataLink> zero;
    std::optional<DataLink> one;

    explicit Meddled(const testing::Meddle& meddle)
        : relay([this, meddle](std::vector<std::byte> bytes) {
              return is_meddling ? meddle(std::move(bytes)) : bytes;
          }) {
        const Device left = Device::create();
        const Device right = Device::create();
        const auto connecting = make_setup(left, 0, 2, {right.identity.peer_id()});
        const auto accepting = make_setup(right, 1, 2, {left.identity.peer_id()});
        auto accepted = std::async(std::launch::async, [&] {
            return DataLink::over_socket(relay.ends().second, LinkSide::accepting, accepting,
                                         patient());
        });
        zero =
            DataLink::over_socket(relay.ends().first, LinkSide::connecting, connecting, patient())
                .value();
        one = accepted.get().value();
    }

    Result<Message> send_and_receive(Deadline deadline = patient()) {
        const std::vector<std::byte> bytes(100);
        EXPECT_TRUE(zero->send(sums, {bytes}, patient()));
        return one->receive(deadline);
    }
};

TEST(Network, that_changes_a_bit_is_noticed) {
    Meddled link([](std::vector<std::byte> bytes) {
        bytes[bytes.size() / 2] ^= std::byte{1};
        return bytes;
    });
    EXPECT_TRUE(link.send_and_receive());
    link.is_meddling = true;
    const auto message = link.send_and_receive();
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, ErrorCode::corrupt_data);
    expect_message(message.error(), "rank 0 (");
    EXPECT_FALSE(link.one->is_open());
}

TEST(Network, that_replays_is_noticed) {
    Meddled link([](std::vector<std::byte> bytes) {
        const std::vector<std::byte> copy = bytes;
        bytes.insert(bytes.end(), copy.begin(), copy.end());
        return bytes;
    });
    link.is_meddling = true;
    EXPECT_TRUE(link.send_and_receive());
    const auto again = link.one->receive(patient());
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ErrorCode::corrupt_data);
}

TEST(Network, that_is_cut_is_noticed_at_once) {
    Meddled link([](std::vector<std::byte> bytes) { return bytes; });
    EXPECT_TRUE(link.send_and_receive());
    link.relay.cut();
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto message = link.one->receive(patient());
    EXPECT_LT(platform::monotonic_us() - begin_us, 1'000'000U);
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, ErrorCode::unavailable);
    expect_message(message.error(), "rank 0 (");
}

TEST(Network, that_swallows_all_is_noticed_by_the_deadline) {
    Meddled link([](const std::vector<std::byte>&) { return std::vector<std::byte>(); });
    link.is_meddling = true;
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto message = link.send_and_receive(Deadline::after_ms(50));
    EXPECT_LT(platform::monotonic_us() - begin_us, 2'000'000U);
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, ErrorCode::unavailable);
    expect_message(message.error(), "no message came in time");
}

TEST(Network, that_delivers_byte_by_byte_is_good_enough) {
    Meddled slow([](std::vector<std::byte> bytes) { return bytes; });
    slow.relay.set_pass_bytes_max(1);
    const std::vector<std::byte> bytes(20'000, std::byte{3});
    auto sent = std::async(std::launch::async,
                           [&] { return slow.zero->send(sums, {bytes}, patient()).has_value(); });
    const auto message = slow.one->receive(patient());
    ASSERT_TRUE(message) << message.error().text();
    EXPECT_TRUE(std::ranges::equal(message->payload, bytes));
    EXPECT_TRUE(sent.get());
}

TEST(DataLinkFault, silence_leaves_the_link_whole) {
    auto [zero, one] = make_pair();
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto nothing = one.receive(Deadline::after_ms(30));
    EXPECT_GE(platform::monotonic_us() - begin_us, 30'000U);
    ASSERT_FALSE(nothing);
    EXPECT_EQ(nothing.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(one.is_open());
    EXPECT_FALSE(one.has_incoming());
    ASSERT_TRUE(zero.send(sums, {}, patient()));
    EXPECT_TRUE(one.receive(patient()));
}

TEST(DataLinkFault, a_peer_that_takes_nothing_holds_nobody_up) {
    auto [zero, one] = make_pair();
    const std::vector<std::byte> much(32 << 20);
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto sent = zero.send(sums, {much}, Deadline::after_ms(100));
    EXPECT_LT(platform::monotonic_us() - begin_us, 3'000'000U);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ErrorCode::unavailable);
    expect_message(sent.error(), "rank 1 (");
    expect_message(sent.error(), "did not take the message in time");
    EXPECT_FALSE(zero.is_open());
    EXPECT_FALSE(zero.send(sums, {}, patient()));  // not behind half a message
}

TEST(DataLinkFault, half_closed_is_closed) {
    auto [zero, one] = make_pair();
    ASSERT_TRUE(zero.send(sums, {}, patient()));
    ASSERT_EQ(::shutdown(zero.descriptor(), SHUT_WR), 0);
    EXPECT_TRUE(one.receive(patient()));  // what was sent before still counts
    const auto message = one.receive(patient());
    ASSERT_FALSE(message);
    EXPECT_EQ(message.error().code, ErrorCode::unavailable);
    expect_message(message.error(), "it closed the connection");
    EXPECT_TRUE(one.has_incoming());
}

TEST(DataLinkFault, a_goodbye_is_told_from_a_crash) {
    auto [zero, one] = make_pair();
    zero.close();
    EXPECT_FALSE(zero.is_open());
    EXPECT_FALSE(zero.send(sums, {}, patient()));
    const auto message = one.receive(patient());
    ASSERT_FALSE(message);
    expect_message(message.error(), "it closed the link");
}

TEST(DataLinkFault, sending_to_one_who_is_gone_fails) {
    auto [zero, one] = make_pair();
    one.close();
    Result<void> sent;
    const std::vector<std::byte> bytes(1000);
    // The first may still fit into the socket.
    for (int i = 0; i < 1000 && sent; ++i) sent = zero.send(sums, {bytes}, patient());
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, ErrorCode::unavailable);
    expect_message(sent.error(), "rank 1 (");
}

TEST(DataLinkFault, another_message_than_expected_is_told) {
    auto [zero, one] = make_pair();
    const std::vector<std::byte> bytes(10);
    ASSERT_TRUE(zero.send(sums, {bytes}, patient()));
    std::vector<std::byte> into(11);
    const auto received = one.receive_into(FrameType{20}, into, patient());
    ASSERT_FALSE(received);
    expect_message(received.error(),
                   "type 16 with 10 bytes came where one of type 20 with 11 bytes");
    EXPECT_FALSE(one.is_open());
}

TEST(DataLinkFault, too_large_a_message_is_refused_and_the_link_lives) {
    auto [zero, one] = make_pair();
    const std::vector<std::byte> half(frame_payload_bytes_max / 2 + 1);
    EXPECT_FALSE(zero.send(sums, {half, half}, patient()));
    EXPECT_TRUE(zero.send(sums, {}, patient()));
    EXPECT_TRUE(one.receive(patient()));
}

TEST(DataLinkFault, what_a_peer_can_make_us_keep_is_bounded) {
    auto [zero, one] = make_pair();
    // Each sends more than the other may keep, and takes nothing out: somebody must give up.
    const auto flood = [](DataLink& link) {
        const std::vector<std::byte> bytes(frame_payload_bytes_max);
        const Deadline end = Deadline::after_ms(3000);
        Result<void> sent;
        for (int i = 0; i < 3 && sent; ++i) sent = link.send(sums, {bytes}, end);
        return sent.has_value();
    };
    auto other = std::async(std::launch::async, [&, &link = one] { return flood(link); });
    EXPECT_FALSE(flood(zero));
    EXPECT_FALSE(other.get());
    EXPECT_LE(zero.stats().received_wire_bytes, incoming_bytes_max + (1U << 20));
}

}  // namespace
}  // namespace exomesh::net
