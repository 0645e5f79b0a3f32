#include "platform/child_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"

namespace exomesh::platform {
namespace {

Result<ChildResult> run_script(const std::string& script, std::uint64_t timeout_ms = 20'000) {
    return run_child({.arguments = {"/bin/sh", "-c", script},
                      .environment = {{"EXOMESH_CHILD_TEST", "given"}},
                      .timeout_ms = timeout_ms});
}

TEST(ChildProcess, GivesOutputErrorsAndStatus) {
    const auto result = run_script("echo out $EXOMESH_CHILD_TEST; echo err >&2; cat; exit 3");
    ASSERT_TRUE(result) << result.error().text();
    EXPECT_EQ(result->end, ChildEnd::exited);
    EXPECT_EQ(result->code, 3);
    EXPECT_EQ(result->output, "out given\n");
    EXPECT_EQ(result->errors, "err\n");
}

TEST(ChildProcess, TellsACrash) {
    const auto result = run_script("kill -SEGV $$");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->end, ChildEnd::killed_by_signal);
    EXPECT_EQ(result->code, SIGSEGV);
}

TEST(ChildProcess, KillsAChildThatHangsAlsoWhenItClosedItsOutput) {
    for (const char* script : {"exec sleep 30", "exec >&- 2>&-; exec sleep 30"}) {
        const auto start_us = monotonic_us();
        const auto result = run_script(script, 100);
        ASSERT_TRUE(result);
        EXPECT_EQ(result->end, ChildEnd::timed_out);
        EXPECT_LT(monotonic_us() - start_us, 10'000'000U);
    }
}

TEST(ChildProcess, ReadsOutputLargerThanAPipe) {
    const auto result = run_script("head -c 1000000 /dev/zero");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->output.size(), 1'000'000U);
}

TEST(ChildProcess, ShowsWhatAChildWroteWhileItRuns) {
    std::vector<std::string> seen;
    const auto result =
        run_child({.arguments = {"/bin/sh", "-c", "echo one >&2; sleep 1; echo two >&2; sleep 1"},
                   .on_wait = [&](std::string_view errors) { seen.emplace_back(errors); }});
    ASSERT_TRUE(result);
    EXPECT_THAT(seen, testing::Contains("one\n").Times(testing::Ge(2)));
    EXPECT_THAT(seen, testing::Contains("one\ntwo\n").Times(testing::Ge(2)));
}

TEST(ChildProcess, StopsAFlood) {
    const auto result = run_script("cat /dev/zero");
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::resource_exhausted);
}

TEST(ChildProcess, MissingProgramIsAnError) {
    const auto result = run_child({.arguments = {"/no/such/program"}});
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace exomesh::platform
