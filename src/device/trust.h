// Whether a device may be trusted: its self-test's report, from the cache where this device with
// this driver was tested before, else from a test in a child process, because a broken driver may
// crash.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "device/self_tester.h"

namespace exomesh::device {

// The hidden command of the program: `exomesh self-test-device ID [GROUP...]` prints the report as
// JSON, and what it tests on standard error.
inline constexpr std::string_view self_test_command = "self-test-device";
// A fault (a crash, a time-out) may have had another cause, so it is believed for this long only.
inline constexpr std::int64_t fault_lifetime_s = 24 * 3600;

struct TrustOptions {
    // A program that knows self_test_command, usually "/proc/self/exe". Empty: test in this
    // process.
    std::string program = {};
    // Which groups of the test must be vouched for; empty: all.
    std::vector<std::string> groups = {};
    // Where reports are kept, one per group; empty: self_test_folder().
    std::string cache_folder = {};
    // Cold, NVIDIA's driver compiles all shaders of the test for 141 s on an H200 machine, once.
    std::uint64_t timeout_ms = 600'000;
    // Called before, during and after a test that really runs, not where the cache answers.
    std::function<void(const SelfTestProgress&)> on_progress = {};
};

// False with EXOMESH_SELF_TEST=off: every device is taken as it is.
[[nodiscard]] bool are_self_tests_wanted();

// $XDG_CACHE_HOME/exomesh/self-test, else ~/.cache/exomesh/self-test; empty where neither is known.
[[nodiscard]] std::string self_test_folder();

// A damaged or outdated cache file counts as none. A crash or a time-out of the child is a report
// with `fault` set. Only groups that no cached report vouches for are tested. Errors only where no
// test could be started at all. A cache that cannot be written is no error: the next start tests
// again.
[[nodiscard]] Result<SelfTestReport> trusted_report(const Device& device, const Device& cpu,
                                                    const TrustOptions& options);

// What main() runs for self_test_command: the report on standard output and 0, or a message on
// standard error and 1.
[[nodiscard]] int run_self_test_command(std::string_view device_id,
                                        const std::vector<std::string>& groups);

}  // namespace exomesh::device
