#include "runner/link_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "net/testing/link_pair.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using ::testing::HasSubstr;

constexpr auto echo_type = static_cast<net::FrameType>(MessageType::echo);

TEST(LinkMeter, measures_a_link) {
    auto [near, far] = net::testing::make_pair();
    std::thread server([&far = far] {
        const auto served = serve_measurement(far, patient());
        EXPECT_TRUE(served.has_value()) << served.error().text();
    });
    const auto measured = measure_link(near, {}, patient());
    server.join();
    ASSERT_TRUE(measured.has_value()) << measured.error().text();
    EXPECT_GE(measured->round_trip_count, 1U);
    EXPECT_LE(measured->round_trip_count, MeterOptions{}.round_trip_count_max);
    EXPECT_GE(measured->round_trip_p99_us, measured->round_trip_p50_us);
    EXPECT_GT(measured->bytes_per_s, 1e6);
}

// A slow link: one round trip is enough, and there is still a figure.
TEST(LinkMeter, ends_when_its_time_is_over) {
    auto [near, far] = net::testing::make_pair();
    std::thread server(
        [&far = far] { EXPECT_TRUE(serve_measurement(far, patient()).has_value()); });
    const auto measured =
        measure_link(near, {.round_trips_us_max = 0, .bulk_us_enough = 0}, patient());
    server.join();
    ASSERT_TRUE(measured.has_value()) << measured.error().text();
    EXPECT_EQ(measured->round_trip_count, 1U);
    EXPECT_GT(measured->bytes_per_s, 0);
}

TEST(LinkMeter, is_answered_within_limits_only) {
    for (const std::size_t size : {std::size_t{0}, echo_reply_bytes - 1, echo_bytes_max + 1}) {
        SCOPED_TRACE(size);
        auto [near, far] = net::testing::make_pair();
        std::thread sender([&near = near, size] {
            const std::vector<std::byte> payload(size);
            std::ignore = near.send(echo_type, {payload}, patient());
        });
        const auto served = serve_measurement(far, patient());
        ASSERT_FALSE(served.has_value());
        EXPECT_EQ(served.error().code, ErrorCode::corrupt_data);
        EXPECT_THAT(served.error().message, HasSubstr("beyond its limits"));
        sender.join();
    }
}

TEST(LinkMeter, is_not_answered_to_something_else) {
    auto [near, far] = net::testing::make_pair();
    ASSERT_TRUE(
        near.send(static_cast<net::FrameType>(MessageType::step), {}, patient()).has_value());
    const auto served = serve_measurement(far, patient());
    ASSERT_FALSE(served.has_value());
    EXPECT_THAT(served.error().message, HasSubstr("something else"));
}

}  // namespace
}  // namespace exomesh::runner
