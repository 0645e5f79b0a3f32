// Two simulated clocks and a network between them that is slower one way than the other.
#include "runner/clock_alignment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace exomesh::runner {
namespace {

constexpr double second_ns = 1e9;

// The peer's clock as a function of ours; its rate swings, but stays within what is allowed.
class PeerClock {
  public:
    PeerClock(double ahead_ns, double drift, double swing_s)
        : ahead_ns_(ahead_ns), drift_(drift), swing_ns_(swing_s * second_ns) {}
    [[nodiscard]] double at(double own_ns) const {
        return own_ns + ahead_ns_ +
               drift_ * swing_ns_ * std::sin(own_ns / swing_ns_);  // slope at most drift_
    }

  private:
    double ahead_ns_, drift_, swing_ns_;
};

ClockSample exchange(const PeerClock& peer, double begin_ns, double forth_ns, double inside_ns,
                     double back_ns) {
    const auto count = [](double ns) { return static_cast<std::uint64_t>(std::llround(ns)); };
    const double end_ns = begin_ns + forth_ns + inside_ns + back_ns;
    return {.request_sent_ns = count(begin_ns),
            .request_received_ns = count(peer.at(begin_ns + forth_ns)),
            .answer_sent_ns = count(peer.at(begin_ns + forth_ns + inside_ns)),
            .answer_received_ns = count(end_ns)};
}

TEST(ClockAlignment, takes_the_middle_where_both_ways_take_as_long) {
    const PeerClock peer(5e9, 0, 1);
    ClockAlignment alignment;
    ASSERT_TRUE(alignment.add(exchange(peer, 1e9, 40'000, 7'000, 40'000)));
    EXPECT_NEAR(alignment.to_own_ns(6'500'000'000), 1.5e9, 1);
    const double at_sample_ns = 6e9 + 47'000;
    EXPECT_NEAR(alignment.uncertainty_ns(static_cast<std::uint64_t>(at_sample_ns)), 40'000, 20);
    // It grows away from the sample, both ways.
    EXPECT_NEAR(alignment.uncertainty_ns(7'000'047'000), 140'000, 20);
    EXPECT_NEAR(alignment.uncertainty_ns(5'000'047'000), 140'000, 20);
}

TEST(ClockAlignment, knows_nothing_without_samples) {
    const ClockAlignment alignment;
    EXPECT_TRUE(alignment.empty());
    EXPECT_EQ(alignment.to_own_ns(17), 17);
    EXPECT_TRUE(std::isinf(alignment.uncertainty_ns(17)));
}

TEST(ClockAlignment, trusts_the_quickest_answer) {
    const PeerClock peer(-3e9, 0, 1);
    ClockAlignment alignment;
    ASSERT_TRUE(alignment.add(exchange(peer, 10e9, 900'000, 0, 100'000)));
    ASSERT_TRUE(alignment.add(exchange(peer, 10.01e9, 20'000, 0, 20'000)));
    ASSERT_TRUE(alignment.add(exchange(peer, 10.02e9, 100'000, 0, 900'000)));
    EXPECT_EQ(alignment.point_count(), 1U);
    EXPECT_NEAR(alignment.to_own_ns(7'000'000'000), 10e9, 1);
}

TEST(ClockAlignment, follows_a_drift) {
    const double drift = 80e-6;
    const PeerClock peer(1e12, drift, 1e6);  // as good as steady
    ClockAlignment alignment;
    for (double own_ns = 1e9; own_ns < 61e9; own_ns += 0.1 * second_ns) {
        ASSERT_TRUE(alignment.add(exchange(peer, own_ns, 30'000, 0, 30'000)));
    }
    EXPECT_GT(alignment.point_count(), 10U);
    const double own_ns = 30.55e9;
    const auto peer_ns = static_cast<std::uint64_t>(peer.at(own_ns));
    EXPECT_NEAR(alignment.to_own_ns(peer_ns), own_ns, 1'000);  // 2,400,000 without following it
}

// Whatever the two ways take, the stated bound holds at every moment, and time does not go back.
TEST(ClockAlignment, the_bound_holds_for_any_delays) {
    std::mt19937_64 random(20260);
    const auto uniform = [&random](double low, double high) {
        return std::uniform_real_distribution(low, high)(random);
    };
    for (int trial = 0; trial < 300; ++trial) {
        const PeerClock peer(uniform(0, 1e13), uniform(-1, 1) * clock_drift_max * 0.999,
                             uniform(0.01, 100));
        // Ways between 1 µs and 30 ms, by orders of magnitude, each way for itself.
        const double forth_exponent = uniform(3, 7.5);
        const double back_exponent = uniform(3, 7.5);
        ClockAlignment alignment;
        double own_ns = 1e12;
        const double begin_ns = own_ns;
        for (int i = 0; i < 200; ++i) {
            const double forth_ns = std::pow(10, uniform(3, forth_exponent));
            const double back_ns = std::pow(10, uniform(3, back_exponent));
            const double inside_ns = uniform(0, 100'000);
            ASSERT_TRUE(alignment.add(exchange(peer, own_ns, forth_ns, inside_ns, back_ns)));
            own_ns += forth_ns + inside_ns + back_ns + std::pow(10, uniform(3, 8.5));
        }
        double last_ns = -std::numeric_limits<double>::infinity();
        const double step_ns = (own_ns - begin_ns + 2 * second_ns) / 500;
        for (double at_ns = begin_ns - second_ns; at_ns < own_ns + second_ns; at_ns += step_ns) {
            const auto peer_ns = static_cast<std::uint64_t>(peer.at(at_ns));
            const double found_ns = alignment.to_own_ns(peer_ns);
            EXPECT_LE(std::abs(found_ns - at_ns), alignment.uncertainty_ns(peer_ns) + 4);
            EXPECT_GE(found_ns, last_ns);
            last_ns = found_ns;
        }
        if (HasFailure()) FAIL() << "trial " << trial;
    }
}

TEST(ClockAlignment, refuses_what_cannot_be) {
    const PeerClock peer(7e9, 0, 1);
    ClockAlignment alignment;
    const ClockSample good = exchange(peer, 5e9, 20'000, 5'000, 20'000);
    const auto refuses = [&](std::uint64_t t0, std::uint64_t t1, std::uint64_t t2,
                             std::uint64_t t3) { EXPECT_FALSE(alignment.add({t0, t1, t2, t3})); };
    refuses(10, 20, 21, 9);       // an answer before its request
    refuses(10, 20, 19, 30);      // the same at the peer
    refuses(10, 1000, 9000, 30);  // the peer took longer than the whole exchange
    EXPECT_TRUE(alignment.empty());
    ASSERT_TRUE(alignment.add(good));
    EXPECT_FALSE(alignment.add(exchange(peer, 4e9, 20'000, 0, 20'000)));  // goes back
    const PeerClock jumped(8e9, 0, 1);
    EXPECT_FALSE(alignment.add(exchange(jumped, 6e9, 20'000, 0, 20'000)));
    EXPECT_EQ(alignment.point_count(), 1U);
    constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
    refuses(0, last, last, last);
    refuses(last, 0, last, 0);
}

TEST(ClockAlignment, has_a_limit) {
    const PeerClock peer(0, 0, 1);
    ClockAlignment alignment;
    for (std::size_t i = 0; i < clock_point_count_max + 10; ++i) {
        ASSERT_TRUE(
            alignment.add(exchange(peer, static_cast<double>(i) * second_ns, 20'000, 0, 20'000)));
    }
    EXPECT_EQ(alignment.point_count(), clock_point_count_max);
    const std::uint64_t later_ns = (clock_point_count_max + 1000) * 1'000'000'000;
    EXPECT_GT(alignment.uncertainty_ns(later_ns), 0.09e9);  // and it says so
}

}  // namespace
}  // namespace exomesh::runner
