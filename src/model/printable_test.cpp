#include "model/printable.h"

#include <gtest/gtest.h>

namespace exomesh::model {
namespace {

TEST(Printable, keeps_text_of_all_scripts) {
    EXPECT_EQ(printable("plain ~ text"), "plain ~ text");
    EXPECT_EQ(printable("\u00a0\u00e4\u4e2d\U0001f600"), "\u00a0\u00e4\u4e2d\U0001f600");
    EXPECT_EQ(printable(""), "");
}

TEST(Printable, lets_nothing_speak_to_the_terminal) {
    EXPECT_EQ(printable("a\x1b[2Jb\x7f\r"), "a?[2Jb??");
    EXPECT_EQ(printable("\u0080\u009b31m\u009f"), "??31m?");  // C1: an 8-bit ESC [ among them
    EXPECT_EQ(printable("\xff\x9b\xc3"), "???");
}

TEST(Printable, keeps_what_it_is_told_to) {
    EXPECT_EQ(printable("a\tb\nc\x1b", "\n\t"), "a\tb\nc?");
    EXPECT_EQ(printable("a\nb"), "a?b");
}

}  // namespace
}  // namespace exomesh::model
