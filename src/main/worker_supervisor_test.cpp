#include "main/worker_supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "platform/socket.h"

namespace exomesh::main {
namespace {

using ::testing::HasSubstr;

TEST(RestartLimit, AllowsSoManyWithinAMinute) {
    RestartLimit limit;
    for (std::uint64_t i = 0; i < RestartLimit::count_max; ++i)
        EXPECT_TRUE(limit.allows(1'000'000 * i));
    EXPECT_FALSE(limit.allows(50'000'000));
    RestartLimit slow;
    for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(slow.allows(13'000'000 * i));
}

// Shell scripts instead of workers; each life adds a line to a file.
class SuperviseTest : public ::testing::Test {
  protected:
    SuperviseTest()
        : lives_(::testing::TempDir() + "worker_supervisor_test." + std::to_string(::getpid())) {
        std::filesystem::remove(lives_);
    }
    ~SuperviseTest() override { std::filesystem::remove(lives_); }

    ExitCode run(const std::string& script, int socket = -1, bool goes_on = true) {
        ::testing::internal::CaptureStderr();
        const ExitCode code =
            supervise({.arguments = {"/bin/sh", "-c", "echo life >> " + lives_ + "\n" + script},
                       .socket = socket,
                       .on_ready = [&] {
                           ++ready_count_;
                           return goes_on;
                       }});
        errors_ = ::testing::internal::GetCapturedStderr();
        return code;
    }
    [[nodiscard]] int life_count() const {
        std::ifstream file(lives_);
        return static_cast<int>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
    }

    std::string lives_;
    std::string errors_;
    int ready_count_ = 0;
};

TEST_F(SuperviseTest, PassesOnWhatARunnerThatNeverServesSaysAndItsCode) {
    EXPECT_EQ(run("echo 'error: no such key' >&2; exit 3"), ExitCode::not_found);
    EXPECT_EQ(errors_, "error: no such key\n");
    EXPECT_EQ(life_count(), 1);
    EXPECT_EQ(ready_count_, 0);
}

TEST_F(SuperviseTest, SaysHowARunnerEndedThatNeverServed) {
    EXPECT_EQ(run("kill -SEGV $$"), ExitCode::failure);
    EXPECT_THAT(errors_, HasSubstr("signal 11 (Segmentation fault) before it could serve"));
    EXPECT_EQ(life_count(), 1);
}

TEST_F(SuperviseTest, StartsARunnerAgainThatCrashes) {
    EXPECT_EQ(run("echo ready; [ $(wc -l < " + lives_ + ") = 3 ] && exit 0; kill -ABRT $$"),
              ExitCode::success);
    EXPECT_THAT(errors_, HasSubstr("the runner ended with signal 6 (Aborted); starting it again\n"
                                   "waiting for a head\n"));
    EXPECT_EQ(life_count(), 3);
    EXPECT_EQ(ready_count_, 1);
}

TEST_F(SuperviseTest, GivesUpOnWhatEndsAgainAndAgain) {
    EXPECT_EQ(run("echo ready; exit 1"), ExitCode::failure);
    EXPECT_THAT(errors_, HasSubstr("error: the runner ended 6 times within a minute, the last time "
                                   "with exit code 1. See above"));
    EXPECT_EQ(life_count(), 6);
    EXPECT_EQ(ready_count_, 1);
}

TEST_F(SuperviseTest, EndsTheRunnerInOrderWhenItIsToEnd) {
    EXPECT_EQ(run("trap 'echo told >&2; exit 0' TERM; echo ready; kill -INT $PPID; "
                  "while :; do sleep 0.01; done"),
              ExitCode::success);
    EXPECT_EQ(errors_, "told\n");
    EXPECT_EQ(life_count(), 1);
}

TEST_F(SuperviseTest, EndsWhereNobodyReadsTheAddress) {
    EXPECT_EQ(run("echo ready; sleep 30", -1, false), ExitCode::failure);
    EXPECT_EQ(life_count(), 1);
}

TEST_F(SuperviseTest, HandsItsSocketOn) {
    const auto socket = platform::ListeningSocket::listen("127.0.0.1", 0);
    ASSERT_TRUE(socket.has_value());
    const std::string number = std::to_string(socket->descriptor());
    EXPECT_EQ(
        run("readlink /proc/self/fd/" + number + " >&2; echo ready; exit 0", socket->descriptor()),
        ExitCode::success);
    EXPECT_THAT(errors_, HasSubstr("socket:["));
    EXPECT_EQ(run("ls /proc/$$/fd >&2; echo ready; exit 0"), ExitCode::success);
    EXPECT_THAT(errors_, Not(HasSubstr("\n" + number + "\n"))) << "unasked";
}

}  // namespace
}  // namespace exomesh::main
