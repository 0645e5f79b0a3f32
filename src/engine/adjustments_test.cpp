#include "engine/adjustments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace exomesh::engine {
namespace {

using ::testing::ElementsAre;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::size_t vocabulary_size = 3000;

std::vector<LogitAdjustment> list_of(const Adjustments& adjustments) {
    const auto list = adjustments.list();
    EXPECT_TRUE(list.has_value());
    return list ? std::vector<LogitAdjustment>(list->begin(), list->end())
                : std::vector<LogitAdjustment>();
}

TEST(Adjustments, bias_first_then_repetition_then_the_rest) {
    const LogitAdjustment one{.token = 0, .bias = 1.0F, .repetition = 2.0F, .penalty = 0.25F};
    EXPECT_EQ(one.of(2.0F), 1.25F);
    EXPECT_EQ(one.of(-2.0F), -2.25F);
    EXPECT_EQ(one.of(-1.0F), -0.25F);
    EXPECT_EQ(LogitAdjustment{.bias = -infinity}.of(1e30F), -infinity);
}

TEST(Adjustments, list_each_token_once_and_none_that_stays_as_it_is) {
    SamplingOptions options;
    options.repetition_penalty = 1.5F;
    options.frequency_penalty = 0.25F;
    options.presence_penalty = 1.0F;
    options.penalty_window = 3;
    options.logit_bias = {{900, -infinity}, {5, 2.0F}};
    Adjustments adjustments(options, vocabulary_size);
    const LogitAdjustment never{.token = 900, .bias = -infinity};
    EXPECT_FALSE(adjustments.none());
    EXPECT_THAT(list_of(adjustments),
                ElementsAre(LogitAdjustment{.token = 5, .bias = 2.0F}, never));

    adjustments.accept_prompt(std::vector<TokenId>{8, 7, 7, 5});
    EXPECT_THAT(list_of(adjustments),
                ElementsAre(LogitAdjustment{.token = 5, .bias = 2.0F, .repetition = 1.5F},
                            LogitAdjustment{.token = 7, .repetition = 1.5F}, never));

    for (const TokenId token : {2, 2, 5}) adjustments.accept(token);  // 7 leaves the window
    EXPECT_THAT(
        list_of(adjustments),
        ElementsAre(LogitAdjustment{.token = 2, .repetition = 1.5F, .penalty = 1.5F},
                    LogitAdjustment{.token = 5, .bias = 2.0F, .repetition = 1.5F, .penalty = 1.25F},
                    never));
}

TEST(Adjustments, without_a_repetition_penalty_are_not_about_prompts) {
    SamplingOptions options;
    options.presence_penalty = 1.0F;
    Adjustments adjustments(options, vocabulary_size);
    adjustments.accept_prompt(std::vector<TokenId>{1, 2, 3});
    EXPECT_TRUE(list_of(adjustments).empty());
    adjustments.accept(3);
    EXPECT_THAT(list_of(adjustments), ElementsAre(LogitAdjustment{.token = 3, .penalty = 1.0F}));

    Adjustments unasked(SamplingOptions{}, vocabulary_size);
    unasked.accept(3);
    EXPECT_TRUE(unasked.none());
}

// Any cut of the vocabulary, also into parts without a token.
TEST(Adjustments, are_the_same_bits_to_parts_as_to_the_whole) {
    std::mt19937_64 random(4);
    std::normal_distribution<float> bell(0.0F, 3.0F);
    for (int round = 0; round < 200; ++round) {
        SamplingOptions options;
        options.repetition_penalty = random() % 2 == 0 ? 1.0F : 1.0F + std::abs(bell(random));
        options.frequency_penalty = bell(random);
        options.penalty_window = static_cast<std::int32_t>(random() % 40);
        const auto any_token = [&] { return static_cast<TokenId>(random() % vocabulary_size); };
        for (std::uint64_t i = random() % 20; i > 0; --i)
            options.logit_bias[any_token()] = random() % 5 == 0 ? -infinity : bell(random);
        Adjustments adjustments(options, vocabulary_size);
        std::vector<TokenId> prompt(random() % 50);
        std::ranges::generate(prompt, any_token);
        adjustments.accept_prompt(prompt);
        for (std::uint64_t i = random() % 50; i > 0; --i) adjustments.accept(any_token());

        std::vector<float> whole(vocabulary_size);
        std::ranges::generate(whole, [&] { return bell(random); });
        std::vector<float> parts = whole;
        adjustments.apply(whole);
        const auto list = list_of(adjustments);
        const std::size_t first = random() % (vocabulary_size + 1);
        const std::size_t second = first + random() % (vocabulary_size + 1 - first);
        const std::span<float> all = parts;
        adjust(all.first(first), 0, list);
        adjust(all.subspan(first, second - first), static_cast<TokenId>(first), list);
        adjust(all.subspan(second), static_cast<TokenId>(second), list);
        EXPECT_EQ(parts, whole);
    }
}

TEST(Adjustments, that_are_too_many_have_no_list) {
    SamplingOptions options;
    options.frequency_penalty = 1.0F;
    Adjustments adjustments(options, vocabulary_size);
    adjustments.accept(0);
    const LogitAdjustment* const place = adjustments.list()->data();
    for (std::size_t i = 1; i < adjustment_count_max; ++i)
        adjustments.accept(static_cast<TokenId>(i));
    ASSERT_TRUE(adjustments.list().has_value());
    EXPECT_EQ(adjustments.list()->size(), adjustment_count_max);
    EXPECT_EQ(adjustments.list()->data(), place);
    adjustments.accept(static_cast<TokenId>(adjustment_count_max));
    EXPECT_FALSE(adjustments.list().has_value());
    std::vector<float> logits(vocabulary_size, 0.0F);
    adjustments.apply(logits);
    EXPECT_EQ(std::ranges::count(logits, -1.0F), std::ptrdiff_t{adjustment_count_max} + 1);
}

TEST(Adjustments, of_others_are_usable_where_they_are_numbers) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE((LogitAdjustment{.bias = -infinity}.is_usable()));
    EXPECT_TRUE(
        (LogitAdjustment{.bias = -100.0F, .repetition = 1e-3F, .penalty = -9.0F}.is_usable()));
    for (const float bias : {infinity, nan})
        EXPECT_FALSE((LogitAdjustment{.bias = bias}.is_usable()));
    for (const float repetition : {0.0F, -1.0F, infinity, nan})
        EXPECT_FALSE((LogitAdjustment{.repetition = repetition}.is_usable()));
    for (const float penalty : {infinity, -infinity, nan})
        EXPECT_FALSE((LogitAdjustment{.penalty = penalty}.is_usable()));
}

}  // namespace
}  // namespace exomesh::engine
