#include "platform/short_turns.h"

#include <gtest/gtest.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

namespace exomesh::platform {
namespace {

sched_attr attributes_of_this_thread() {
    sched_attr attributes{};
    EXPECT_EQ(::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0), 0);
    return attributes;
}

bool has_turns_of_any_length() {
    utsname system{};
    int major = 0;
    int minor = 0;
    if (::uname(&system) != 0 || std::sscanf(system.release, "%d.%d", &major, &minor) != 2)
        return false;
    return major > 6 || (major == 6 && minor >= 12);
}

TEST(ShortTurns, AreOfThisThreadAndChangeNothingElse) {
    const sched_attr before = attributes_of_this_thread();
    sched_attr after{};
    sched_attr of_child{};
    std::thread([&] {
        prefer_short_turns();
        after = attributes_of_this_thread();
        std::thread([&of_child] { of_child = attributes_of_this_thread(); }).join();
    }).join();
    EXPECT_EQ(of_child.sched_runtime, before.sched_runtime);
    EXPECT_EQ(after.sched_policy, before.sched_policy);
    EXPECT_EQ(after.sched_nice, before.sched_nice);
    EXPECT_EQ(after.sched_priority, before.sched_priority);
    EXPECT_TRUE(!has_turns_of_any_length() || after.sched_runtime == 100'000);
    EXPECT_EQ(attributes_of_this_thread().sched_runtime, before.sched_runtime);
}

}  // namespace
}  // namespace exomesh::platform
