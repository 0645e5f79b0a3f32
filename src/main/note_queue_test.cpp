#include "main/note_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <vector>

namespace exomesh::main {
namespace {

TEST(NoteQueue, prints_in_order) {
    std::vector<std::string> printed;
    NoteQueue queue([&](const std::string& note) { printed.push_back(note); });
    queue.push("a");
    queue.push("b");
    queue.flush();
    EXPECT_EQ(printed, (std::vector<std::string>{"a", "b"}));
}

TEST(NoteQueue, leaves_out_what_a_slow_terminal_cannot_take) {
    std::vector<std::string> printed;
    std::promise<void> go_on;
    const std::shared_future<void> may_go_on = go_on.get_future().share();
    std::atomic<bool> is_held = false;
    NoteQueue queue([&](const std::string& note) {
        is_held = true;
        is_held.notify_all();
        may_go_on.wait();
        printed.push_back(note);
    });
    queue.push("first");
    is_held.wait(false);  // the terminal has it, and keeps it
    for (std::size_t i = 0; i < queued_note_count_max + 3; ++i) queue.push("more");
    go_on.set_value();
    queue.flush();
    ASSERT_EQ(printed.size(), queued_note_count_max + 2);
    EXPECT_EQ(printed.back(), "[3 lines left out: the terminal was too slow for them]\n");
}

}  // namespace
}  // namespace exomesh::main
