#include "platform/clock.h"

#include <gtest/gtest.h>
#include <time.h>

#include <chrono>
#include <thread>

namespace exomesh::platform {

TEST(Clock, MonotonicCountsMicroseconds) {
    const std::uint64_t before_us = monotonic_us();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::uint64_t elapsed_us = monotonic_us() - before_us;
    EXPECT_GE(elapsed_us, 20'000U);
    EXPECT_LT(elapsed_us, 20'000'000U);
}

TEST(Clock, ProcessorTimeGrowsWithComputingAndNotWithSleep) {
    const std::uint64_t before_ns = process_cpu_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LT(process_cpu_ns() - before_ns, 100'000'000U);
    const std::uint64_t begin_us = monotonic_us();
    while (process_cpu_ns() - before_ns < 120'000'000 && monotonic_us() - begin_us < 20'000'000) {
    }
    EXPECT_GE(process_cpu_ns() - before_ns, 120'000'000U);
}

TEST(Clock, UnixTimeIsTheSystemsTime) {
    EXPECT_NEAR(static_cast<double>(unix_s()), static_cast<double>(::time(nullptr)), 2.0);
}

}  // namespace exomesh::platform
