#include "wire.h"

#include <gtest/gtest.h>

namespace exomesh::link_emulator {
namespace {

TEST(Line, SendsOneFrameAfterTheOther) {
    Line line;
    line.options.rate_mbit = 100;
    EXPECT_EQ(line.send(1000, 1250), 1000 + 100'000);  // 10,000 bits at 100 bits a microsecond
    EXPECT_EQ(line.send(1000, 1250), 1000 + 200'000);
    EXPECT_EQ(line.backlog_ns(1000), 200'000);
    EXPECT_EQ(line.send(1'000'000, 125), 1'000'000 + 10'000) << "an idle line saves nothing up";
    line.options.rate_mbit = 0;
    EXPECT_EQ(line.send(5, 1 << 20), 5);
}

TEST(Path, DelaysAndKeepsTheOrder) {
    Path path(1);
    path.options = {.delay_us = 100, .jitter_us = 50};
    std::int64_t last_ns = 0;
    for (std::int64_t sent_ns = 0; sent_ns < 1'000'000; sent_ns += 10'000) {
        const Arrivals arrivals = path.pass(sent_ns);
        ASSERT_EQ(arrivals.count, 1U);
        EXPECT_GE(arrivals.at_ns[0], std::max(sent_ns + 100'000, last_ns));
        EXPECT_LE(arrivals.at_ns[0], sent_ns + 150'000);
        last_ns = arrivals.at_ns[0];
    }
}

TEST(Path, FaultsAreAsFrequentAsTold) {
    constexpr int count = 100'000;
    Path path(7);
    path.options = {.delay_us = 10, .loss = 0.1, .duplicate = 0.2, .straggle = 0.05};
    int lost = 0, twice = 0, late = 0;
    for (int i = 0; i < count; ++i) {
        const Arrivals arrivals = path.pass(i * 1000);
        if (arrivals.count == 0) ++lost;
        if (arrivals.count == 2) ++twice;
        if (arrivals.count > 0 && arrivals.at_ns[0] > i * 1000 + 10'000) ++late;
    }
    EXPECT_NEAR(lost, count * 0.1, 600);
    EXPECT_NEAR(twice, count * 0.9 * 0.2, 700);
    EXPECT_NEAR(late, count * 0.9 * 0.05, 400);
}

TEST(Path, TheSameSeedGivesTheSameFaults) {
    Path one(3), same(3), other(4);
    for (Path* path : {&one, &same, &other}) path->options.loss = 0.5;
    int different = 0;
    for (int i = 0; i < 200; ++i) {
        const std::size_t count = one.pass(i).count;
        EXPECT_EQ(count, same.pass(i).count);
        if (count != other.pass(i).count) ++different;
    }
    EXPECT_GT(different, 50);
}

TEST(Wire, CountsTheFramesOfManySegmentsInOnePacket) {
    EXPECT_EQ(wire_bytes_of(1500, 52, 0), 1538U);
    EXPECT_EQ(wire_bytes_of(40, 40, 0), 84U) << "the smallest frame, its gap and preamble";
    EXPECT_EQ(wire_bytes_of(52 + 3 * 1448, 52, 1448), 3 * 1538U);
    EXPECT_EQ(wire_bytes_of(52 + 1449, 52, 1448), 1538U + 52 + 38 + 1);
}

}  // namespace
}  // namespace exomesh::link_emulator
