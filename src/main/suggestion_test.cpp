#include "main/suggestion.h"

#include <gtest/gtest.h>

namespace exomesh::main {
namespace {

TEST(EditDistance, CountsEdits) {
    EXPECT_EQ(edit_distance("", ""), 0U);
    EXPECT_EQ(edit_distance("", "abc"), 3U);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
    EXPECT_EQ(edit_distance("rnu", "run"), 1U);  // neighbours swapped
    EXPECT_EQ(edit_distance("model", "models"), 1U);
}

TEST(Suggestion, NamesTheNearestWord) {
    const std::vector<std::string> known = {"run", "chat", "models", "doctor"};
    EXPECT_EQ(suggestion("rnu", known), " Did you mean 'run'?");
    EXPECT_EQ(suggestion("model", known), " Did you mean 'models'?");
    EXPECT_EQ(suggestion("doc", known), " Did you mean 'doctor'?");
}

TEST(Suggestion, IsSilentWhereNothingIsNear) {
    EXPECT_EQ(suggestion("serve", {"run", "chat"}), "");
    EXPECT_EQ(suggestion("x", {"run"}), "");
    EXPECT_EQ(suggestion("run", {}), "");
}

}  // namespace
}  // namespace exomesh::main
