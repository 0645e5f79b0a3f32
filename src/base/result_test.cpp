#include "base/result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/assert.h"

namespace exomesh {
namespace {

Result<int> positive(int value) {
    if (value <= 0) return fail(ErrorCode::invalid_argument, "not positive.", "Give a larger one.");
    return value;
}

Result<> check_both(int first, int second) {
    EXO_TRY(positive(first));
    EXO_TRY(positive(second));
    return {};
}

Result<std::string> text_of_sum(int first, int second) {
    EXO_TRY_ASSIGN(const int left, positive(first));
    EXO_TRY_ASSIGN(const int right, positive(second));
    return std::to_string(left + right);
}

Result<std::unique_ptr<int>> boxed(int value) {
    EXO_TRY_ASSIGN(auto box, Result<std::unique_ptr<int>>(std::make_unique<int>(value)));
    return box;
}

TEST(Result, TryHandsTheFirstErrorUp) {
    EXPECT_TRUE(check_both(1, 2));
    EXPECT_FALSE(check_both(0, 2));
    const auto second = check_both(1, 0);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::invalid_argument);
}

TEST(Result, TryAssignGivesTheValueOrTheError) {
    EXPECT_EQ(text_of_sum(1, 2).value(), "3");
    EXPECT_FALSE(text_of_sum(1, -2));
    EXPECT_EQ(**boxed(7), 7);
}

TEST(Result, TextJoinsMessageAndHint) {
    EXPECT_EQ(positive(0).error().text(), "not positive. Give a larger one.");
    EXPECT_EQ((Error{ErrorCode::io, "disk gone."}.text()), "disk gone.");
}

TEST(AssertDeathTest, NamesTheConditionAndThePlace) {
    EXO_ASSERT(1 + 1 == 2);
    EXPECT_DEATH(EXO_ASSERT(1 + 1 == 3), "assertion '1 \\+ 1 == 3' failed at .*result_test.cpp:");
}

}  // namespace
}  // namespace exomesh
