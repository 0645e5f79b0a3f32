#include "runner/sum_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "net/testing/link_pair.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using ::testing::HasSubstr;

// Adds one, as if there were another rank with ones.
class AddOne final : public engine::Reducer {
  public:
    void start(float* values, std::int64_t row_length, std::int64_t row_count) override {
        for (std::int64_t i = 0; i < row_length * row_count; ++i) values[i] += 1.0F;
    }
    void finish() override {}
};

class SumCheckTest : public ::testing::Test {
  protected:
    SumCheckTest()
        : pair_(net::testing::make_pair(net::testing::Transport::local, {.spin_us = 0})),
          first_(sums_, {nullptr, &pair_.first}),
          second_(sums_, {&pair_.second, nullptr}) {}

    // One step on both ranks, the second with something done to its values.
    std::pair<Result<void>, Result<void>> step(
        const std::function<void(std::vector<float>&)>& change) {
        Result<void> first, second;
        const auto run = [](SumCheck& check, std::vector<float> values, Result<void>& result) {
            check.reduce(values.data(), static_cast<std::int64_t>(values.size()), 1);
            result = check.compare(patient());
        };
        std::vector<float> values = {1.0F, -2.0F, 0.0F, 2.5F};
        std::vector<float> changed = values;
        change(changed);
        std::thread other([&] { run(second_, changed, second); });
        run(first_, values, first);
        other.join();
        return {std::move(first), std::move(second)};
    }

    std::pair<net::DataLink, net::DataLink> pair_;
    AddOne sums_;
    SumCheck first_;
    SumCheck second_;
};

TEST_F(SumCheckTest, passes_the_same_sums_step_after_step) {
    for (int i = 0; i < 3; ++i) {
        const auto [first, second] = step([](std::vector<float>&) {});
        EXPECT_TRUE(first.has_value()) << first.error().text();
        EXPECT_TRUE(second.has_value()) << second.error().text();
    }
}

TEST_F(SumCheckTest, sees_one_bit_on_both_sides_and_names_the_rank) {
    const float next = std::nextafter(2.5F, 4.0F);
    const auto [first, second] = step([next](std::vector<float>& values) { values[3] = next; });
    ASSERT_FALSE(first.has_value());
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(first.error().code, ErrorCode::internal);
    EXPECT_THAT(first.error().message, HasSubstr("rank 1 ("));
    EXPECT_THAT(second.error().message, HasSubstr("rank 0 ("));
}

TEST_F(SumCheckTest, sees_an_exchange) {
    EXPECT_FALSE(step([](std::vector<float>& values) {
                     std::swap(values[0], values[1]);
                 }).first.has_value());
}
TEST_F(SumCheckTest, sees_a_missing_value) {
    EXPECT_FALSE(step([](std::vector<float>& values) { values.pop_back(); }).first.has_value());
}
TEST_F(SumCheckTest, a_step_that_was_well_forgets_nothing_for_the_next) {
    EXPECT_TRUE(step([](std::vector<float>&) {}).first.has_value());
    EXPECT_FALSE(step([](std::vector<float>& values) { values[0] = 7.0F; }).first.has_value());
}

}  // namespace
}  // namespace exomesh::runner
