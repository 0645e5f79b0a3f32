#include "net/data_link.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <future>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "net/testing/link_pair.h"

namespace exomesh::net {
namespace {

using testing::make_pair;
using testing::patient;
using testing::Transport;

constexpr FrameType sums = FrameType::first_of_caller;
constexpr FrameType tokens{17};

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>((i * 31 + seed + (i >> 8) * 7) & 0xff);
    return bytes;
}

bool equal(std::span<const std::byte> one, std::span<const std::byte> other) {
    return std::ranges::equal(one, other);
}

class DataLinkOver : public ::testing::TestWithParam<Transport> {};
INSTANTIATE_TEST_SUITE_P(Transports, DataLinkOver,
                         ::testing::Values(Transport::tcp, Transport::local));

TEST_P(DataLinkOver, carries_messages_both_ways) {
    auto [zero, one] = make_pair(GetParam());
    EXPECT_EQ(zero.peer_rank(), 1);
    EXPECT_EQ(one.peer_rank(), 0);
    const auto head = pattern(5, 1);
    const auto body = pattern(2176, 2);
    ASSERT_TRUE(zero.send(sums, {head, body}, patient()));
    ASSERT_TRUE(one.send(tokens, {}, patient()));
    const auto there = one.receive(patient());
    ASSERT_TRUE(there) << there.error().text();
    EXPECT_EQ(there->type, sums);
    ASSERT_EQ(there->payload.size(), head.size() + body.size());
    EXPECT_TRUE(equal(there->payload.first(head.size()), head));
    EXPECT_TRUE(equal(there->payload.subspan(head.size()), body));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(there->payload.data()) % 64, 0U);
    const auto back = zero.receive(patient());
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_EQ(back->type, tokens);
    EXPECT_TRUE(back->payload.empty());
}

TEST_P(DataLinkOver, carries_every_size_around_a_record) {
    auto [zero, one] = make_pair(GetParam());
    for (const std::size_t size :
         {0, 1, 16371, 16372, 16373, 32756, 131059, 131060, 131061, 400000}) {
        const auto bytes = pattern(size, 3);
        auto sent = std::async(std::launch::async,
                               [&] { return zero.send(sums, {bytes}, patient()).has_value(); });
        const auto message = one.receive(patient());
        ASSERT_TRUE(sent.get());
        ASSERT_TRUE(message) << size << ": " << message.error().text();
        EXPECT_TRUE(equal(message->payload, bytes)) << size;
    }
}

TEST_P(DataLinkOver, large_messages_cross_without_deadlock) {
    auto [zero, one] = make_pair(GetParam());
    const auto from_zero = pattern(8 << 20, 4);
    const auto from_one = pattern(8 << 20, 5);
    // Both send first and receive then: neither would ever finish if a sender did not take in.
    auto other = std::async(std::launch::async, [&, &link = one] {
        const bool sent = link.send(sums, {from_one}, patient()).has_value();
        const auto message = link.receive(patient());
        return sent && message && equal(message->payload, from_zero);
    });
    const auto sent = zero.send(sums, {from_zero}, patient());
    ASSERT_TRUE(sent) << sent.error().text();
    std::vector<std::byte> into(from_one.size());
    const auto received = zero.receive_into(sums, into, patient());
    ASSERT_TRUE(received) << received.error().text();
    EXPECT_TRUE(into == from_one);
    EXPECT_TRUE(other.get());
}

TEST(DataLink, ping_pongs_a_hundred_thousand_times) {
    auto [zero, one] = make_pair();
    constexpr std::uint32_t count = 100'000;
    auto other = std::async(std::launch::async, [&link = one] {
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto message = link.receive(patient());
            if (!message || !link.send(tokens, {message->payload}, patient())) return false;
        }
        return true;
    });
    for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_TRUE(zero.send(sums, {std::as_bytes(std::span(&i, 1))}, patient()));
        std::uint32_t back = ~i;
        ASSERT_TRUE(
            zero.receive_into(tokens, std::as_writable_bytes(std::span(&back, 1)), patient()));
        ASSERT_EQ(back, i);
    }
    EXPECT_TRUE(other.get());
    const LinkStats& stats = zero.stats();
    EXPECT_EQ(stats.sent_messages, count);
    EXPECT_EQ(stats.received_bytes, count * sizeof count);
    // Header of 12, record header, tag and type: one record a message, and no more.
    EXPECT_EQ(stats.sent_wire_bytes, std::uint64_t{count} * (sizeof count + 12 + 22));
    EXPECT_EQ(stats.receive_wait.count(), count);
}

// After 16 days of decoding or so.
TEST(DataLink, goes_on_where_the_numbers_of_frames_wrap_around) {
    constexpr std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
    for (const std::uint32_t first : {last, last - 2}) {
        auto [zero, one] = make_pair(Transport::local, {.spin_us = 0, .sequence_first = first});
        for (unsigned i = 0; i < 5; ++i) {
            const auto bytes = pattern(10, i);
            ASSERT_TRUE(zero.send(sums, {bytes}, patient()));
            const auto there = one.receive(patient());
            ASSERT_TRUE(there) << there.error().text();
            EXPECT_TRUE(equal(there->payload, bytes));
            ASSERT_TRUE(one.send(tokens, {}, patient()));
            const auto back = zero.receive(patient());
            ASSERT_TRUE(back) << back.error().text();
        }
    }
}

TEST(DataLink, tells_that_it_is_amid_a_message) {
    auto [zero, one] = make_pair();
    EXPECT_FALSE(zero.is_sending());
    const auto bytes = pattern(32 << 20, 8);  // more than sockets take at once
    const Bytes part = bytes;
    const Outgoing message{&zero, sums, {&part, 1}};
    ASSERT_TRUE(begin_all({&message, 1}));
    EXPECT_TRUE(zero.is_sending());
    auto there = std::async(std::launch::async,
                            [&link = one] { return link.receive(patient()).has_value(); });
    ASSERT_TRUE(finish_all({&message, 1}, patient()));
    EXPECT_FALSE(zero.is_sending());
    EXPECT_TRUE(there.get());
}

// As in a pipeline of two: the next stage is also the last, which may be sending its output.
TEST(DataLink, keeps_what_comes_in_on_a_link_it_sends_on) {
    auto [zero, one] = make_pair();
    const auto bytes = pattern(32 << 20, 9);  // more than sockets take at once
    const Bytes part = bytes;
    const Outgoing message{&zero, sums, {&part, 1}};
    DataLink* const also_keep = &zero;
    ASSERT_TRUE(begin_all({&message, 1}));
    ASSERT_TRUE(zero.is_sending());  // nobody receives yet
    auto there = std::async(std::launch::async, [&link = one] {
        const bool got_both = link.receive(patient()) && link.receive(patient());
        return got_both;
    });
    ASSERT_TRUE(finish_all({&message, 1}, patient(), {&also_keep, 1}));
    ASSERT_TRUE(zero.send(sums, {}, patient()));
    EXPECT_TRUE(there.get());
}

TEST(DataLink, takes_the_cipher_that_suits_the_weaker_processor) {
    using platform::AesSupport;
    using testing::Device;
    for (const AesSupport connecting : {AesSupport::instructions, AesSupport::none}) {
        for (const AesSupport accepting : {AesSupport::instructions, AesSupport::none}) {
            Device zero = Device::create();
            Device one = Device::create();
            zero.tls = TlsContext::create(zero.identity, connecting).value();
            one.tls = TlsContext::create(one.identity, accepting).value();
            const auto [connected, accepted] =
                testing::try_pair(testing::make_setup(zero, 0, 2, {one.identity.peer_id()}),
                                  testing::make_setup(one, 1, 2, {zero.identity.peer_id()}));
            ASSERT_TRUE(connected && accepted);
            const bool both_have_aes =
                connecting == AesSupport::instructions && accepting == AesSupport::instructions;
            EXPECT_EQ(connected->cipher(),
                      both_have_aes ? "TLS_AES_128_GCM_SHA256" : "TLS_CHACHA20_POLY1305_SHA256");
            EXPECT_EQ(accepted->cipher(), connected->cipher());
        }
    }
}

TEST(DataLink, renews_its_keys) {
    auto [zero, one] = make_pair(Transport::tcp, {.spin_us = 0, .records_per_key_max = 3});
    const auto bytes = pattern(40'000, 6);
    for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(zero.send(sums, {bytes}, patient()));
        const auto there = one.receive(patient());
        ASSERT_TRUE(there) << there.error().text();
        ASSERT_TRUE(one.send(sums, {there->payload}, patient()));
        const auto back = zero.receive(patient());
        ASSERT_TRUE(back) << back.error().text();
        ASSERT_TRUE(equal(back->payload, bytes));
    }
    // A renewal is a message of five bytes in a record of its own.
    const std::uint64_t records = 50 * 3;
    EXPECT_GT(zero.stats().sent_wire_bytes, 50 * (bytes.size() + 12) + records * 22);
}

TEST(DataLink, lets_many_ranks_send_large_messages_in_a_ring) {
    constexpr std::size_t count = 3;
    std::vector<std::vector<DataLink>> links(count);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = i + 1; j < count; ++j) {
            auto [one, other] = make_pair();
            links[i].push_back(std::move(one));
            links[j].push_back(std::move(other));
        }
    }
    const auto all_gather = [&links](std::size_t rank) {
        const auto ours = pattern(6 << 20, static_cast<unsigned>(rank));
        const Bytes part = ours;
        std::vector<Outgoing> messages;
        messages.reserve(count);
        for (DataLink& link : links[rank]) messages.push_back({&link, sums, {&part, 1}});
        if (!send_all(messages, patient())) return false;
        for (std::size_t peer = 0, at = 0; peer < count; ++peer) {
            if (peer == rank) continue;
            const auto message = links[rank][at++].receive(patient());
            const auto theirs = pattern(ours.size(), static_cast<unsigned>(peer));
            if (!message || !equal(message->payload, theirs)) return false;
        }
        return true;
    };
    std::vector<std::future<bool>> ranks;
    ranks.reserve(count);
    for (std::size_t rank = 0; rank < count; ++rank)
        ranks.push_back(std::async(std::launch::async, all_gather, rank));
    for (auto& rank : ranks) EXPECT_TRUE(rank.get());
}

// As in a pipeline that gives its output back to the first rank: everyone sends before it receives.
TEST(DataLink, lets_a_circle_of_senders_go_on_where_one_keeps_what_comes_from_behind) {
    constexpr std::size_t count = 3;
    std::vector<DataLink> to_next;
    std::vector<DataLink> from_previous;
    for (std::size_t i = 0; i < count; ++i) {
        auto [one, other] = make_pair();
        to_next.push_back(std::move(one));
        from_previous.push_back(std::move(other));
    }
    std::ranges::rotate(from_previous, from_previous.end() - 1);
    const auto bytes = pattern(24 << 20, 7);
    const auto pass_on = [&](std::size_t rank) {
        const Bytes part = bytes;
        DataLink* const behind = &from_previous[rank];
        for (int round = 0; round < 2; ++round) {
            const Outgoing message{&to_next[rank], sums, {&part, 1}};
            const auto also_keep = std::span(&behind, rank == 0 ? 1 : 0);
            if (!send_all({&message, 1}, patient(), also_keep)) return false;
        }
        for (int round = 0; round < 2; ++round) {
            const auto message = behind->receive(patient());
            if (!message || !equal(message->payload, bytes)) return false;
        }
        return true;
    };
    std::vector<std::future<bool>> ranks;
    ranks.reserve(count);
    for (std::size_t rank = 0; rank < count; ++rank)
        ranks.push_back(std::async(std::launch::async, pass_on, rank));
    for (auto& rank : ranks) EXPECT_TRUE(rank.get());
}

}  // namespace
}  // namespace exomesh::net
