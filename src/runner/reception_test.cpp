#include "runner/reception.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "base/assert.h"
#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "platform/socket.h"
#include "runner/control.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using net::testing::Device;
using net::testing::patient;
using ::testing::HasSubstr;

class ReceptionTest : public ::testing::Test {
  protected:
    ReceptionTest()
        : listener_(*net::LinkListener::listen("127.0.0.1", 0)),
          reception_(listener_,
                     {.tls = worker_.tls,
                      .hello = control_hello(ControlRole::worker),
                      .allowed_peers = {head_.identity.peer_id()}},
                     [](const std::string&) {}) {}

    // A head that has been greeted or refused.
    net::DataLink call(MessageType expected) {
        auto link = net::DataLink::connect("127.0.0.1", listener_.port(),
                                           {.tls = head_.tls,
                                            .hello = control_hello(ControlRole::head),
                                            .allowed_peers = {worker_.identity.peer_id()}},
                                           patient());
        EXO_ASSERT(link.has_value());
        const auto answer = link->receive(patient());
        EXPECT_TRUE(answer.has_value()) << answer.error().text();
        if (answer) {
            EXPECT_EQ(answer->type, frame_type(expected));
            if (expected == MessageType::failure) {
                EXPECT_THAT(decode_failure(answer->payload).message, HasSubstr("busy"));
            }
        }
        return *std::move(link);
    }

    Device worker_ = Device::create();
    Device head_ = Device::create();
    net::LinkListener listener_;
    Reception reception_;
};

TEST_F(ReceptionTest, lets_one_in_tells_others_and_is_free_again) {
    for (int round = 0; round < 3; ++round) {
        const net::DataLink first = call(MessageType::welcome);
        ASSERT_TRUE(reception_.wait_for_head(patient()).has_value());
        reception_.turn_others_away();
        const net::DataLink second = call(MessageType::failure);
        const net::DataLink third = call(MessageType::failure);
        EXPECT_FALSE(reception_.wait_for_head(net::Deadline::after_ms(1)).has_value());
        reception_.be_free();
    }
}

TEST_F(ReceptionTest, leaves_the_port_to_the_caller_while_ranks_come) {
    const net::DataLink first = call(MessageType::welcome);
    ASSERT_TRUE(reception_.wait_for_head(patient()).has_value());
    const auto rank = platform::connect_socket("127.0.0.1", listener_.port(), patient());
    ASSERT_TRUE(rank.has_value());
    EXPECT_TRUE(listener_.take(patient()).has_value());
}

TEST_F(ReceptionTest, is_held_up_by_no_stranger) {
    std::vector<platform::Socket> strangers;
    for (std::size_t i = 0; i + 1 < guest_count_max; ++i) {
        auto stranger = platform::connect_socket("127.0.0.1", listener_.port(), patient());
        ASSERT_TRUE(stranger.has_value());
        strangers.push_back(*std::move(stranger));
    }
    const std::uint64_t begin_us = platform::monotonic_us();
    const net::DataLink head = call(MessageType::welcome);
    EXPECT_LT(platform::monotonic_us() - begin_us, net::handshake_ms_max * 1000 / 2);
    EXPECT_TRUE(reception_.wait_for_head(patient()).has_value());
}

TEST_F(ReceptionTest, ends_at_once_with_strangers_there) {
    const Device other = Device::create();
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::optional<Reception> reception;
    reception.emplace(*listener,
                      net::LinkSetup{.tls = other.tls,
                                     .hello = control_hello(ControlRole::worker),
                                     .allowed_peers = {head_.identity.peer_id()}},
                      [](const std::string&) {});
    const auto stranger = platform::connect_socket("127.0.0.1", listener->port(), patient());
    ASSERT_TRUE(stranger.has_value());
    EXPECT_FALSE(reception->wait_for_head(net::Deadline::after_ms(200)).has_value());
    const std::uint64_t begin_us = platform::monotonic_us();
    reception.reset();
    EXPECT_LT(platform::monotonic_us() - begin_us, 2'000'000U);
}

}  // namespace
}  // namespace exomesh::runner
