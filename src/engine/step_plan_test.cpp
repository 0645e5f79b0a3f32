#include "engine/step_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace exomesh::engine {
namespace {

using Plan = std::vector<PlannedTokens>;

TEST(StepPlan, DecodesEverySlotAndFillsTheChunkWithTheOldestPrompt) {
    const std::vector<SlotWork> work = {
        {.slot = 0, .request = 9, .tokens_left = 700, .decoding = false},
        {.slot = 1, .request = 2, .tokens_left = 1, .decoding = true},
        {.slot = 3, .request = 5, .tokens_left = 100, .decoding = false},
    };
    EXPECT_EQ(plan_step(work, 512), (Plan{{.slot = 0, .token_count = 411, .finishes = false},
                                          {.slot = 1, .token_count = 1, .finishes = true},
                                          {.slot = 3, .token_count = 100, .finishes = true}}));
}

TEST(StepPlan, PromptsGetOnEvenWhenDecodesFillTheChunk) {
    const std::vector<SlotWork> work = {
        {.slot = 0, .request = 1, .tokens_left = 1, .decoding = true},
        {.slot = 1, .request = 2, .tokens_left = 1, .decoding = true},
        {.slot = 2, .request = 3, .tokens_left = 10, .decoding = false},
    };
    EXPECT_EQ(plan_step(work, 2).size(), 3U);
}

// Whatever the work: never more than a chunk (plus one forced prompt token), every decode included,
// nothing planned twice, and something planned while there is work.
TEST(StepPlan, HoldsItsPromisesOnRandomWork) {
    std::mt19937 random(7);
    for (int round = 0; round < 2000; ++round) {
        std::vector<SlotWork> work;
        const auto chunk_length = static_cast<std::uint32_t>(1 + random() % 64);
        std::uint32_t decode_count = 0;
        for (std::uint32_t slot = 0; slot < 16; ++slot) {
            if (random() % 3 == 0) continue;
            const bool decoding = random() % 2 == 0;
            const auto tokens_left = static_cast<std::uint32_t>(1 + random() % 100);
            decode_count += decoding ? 1 : 0;
            work.push_back({.slot = slot,
                            .request = random(),
                            .tokens_left = decoding ? 1 : tokens_left,
                            .decoding = decoding});
        }
        const Plan plan = plan_step(work, chunk_length);
        std::uint32_t total = 0;
        std::uint32_t decodes_planned = 0;
        for (std::size_t i = 0; i < plan.size(); ++i) {
            if (i > 0) {
                EXPECT_LT(plan[i - 1].slot, plan[i].slot);
            }
            const auto slot = std::ranges::find(work, plan[i].slot, &SlotWork::slot);
            ASSERT_NE(slot, work.end());
            EXPECT_GE(plan[i].token_count, 1U);
            EXPECT_LE(plan[i].token_count, slot->tokens_left);
            EXPECT_EQ(plan[i].finishes, plan[i].token_count == slot->tokens_left);
            total += plan[i].token_count;
            decodes_planned += slot->decoding ? 1 : 0;
        }
        EXPECT_EQ(decodes_planned, decode_count);
        EXPECT_LE(total, std::max(chunk_length, decode_count + 1));
        EXPECT_EQ(plan.empty(), work.empty());
    }
}

std::vector<TokenId> tokens(TokenId first, std::size_t count) {
    std::vector<TokenId> out;
    for (std::size_t i = 0; i < count; ++i) out.push_back(first + static_cast<TokenId>(i));
    return out;
}

TEST(ChooseSlot, TakesTheLongestPrefixThenTheLeastRecentlyUsed) {
    const auto prompt = tokens(100, 50);
    const auto prefix = tokens(100, 20);
    const auto other = tokens(900, 80);
    const std::vector<SlotView> slots = {
        {.slot = 0, .last_used = 5, .tokens = other},
        {.slot = 1, .last_used = 9, .tokens = prefix},
        {.slot = 2, .last_used = 1, .tokens = other},
    };
    EXPECT_EQ(choose_slot(slots, prompt),
              (SlotChoice{.slot = 1, .cached_count = 20, .copy_from = 1}));
    EXPECT_EQ(choose_slot(slots, tokens(5000, 3)),
              (SlotChoice{.slot = 2, .cached_count = 0, .copy_from = 2}));
}

TEST(ChooseSlot, ComputesAFewTokensAnewRatherThanCutThePromptElsewhere) {
    const auto prompt = tokens(1, 100);
    const auto chosen_with = [&](std::uint32_t count) {
        const auto held = tokens(1, count);
        const std::vector<SlotView> slots = {{.slot = 0, .last_used = 1, .tokens = held}};
        return choose_slot(slots, prompt).cached_count;
    };
    EXPECT_EQ(chosen_with(1), 0U);
    EXPECT_EQ(chosen_with(kept_prefix_min - 1), 0U);
    EXPECT_EQ(chosen_with(kept_prefix_min), kept_prefix_min);
}

TEST(ChooseSlot, ComputesTheLastPromptTokenAnew) {
    const auto prompt = tokens(1, 10);
    const std::vector<SlotView> slots = {{.slot = 0, .last_used = 1, .tokens = prompt}};
    EXPECT_EQ(choose_slot(slots, prompt).cached_count, 9U);
}

TEST(ChooseSlot, CopiesALongPrefixOutOfABusySlotButNotAShortOne) {
    const auto prompt = tokens(1, 500);
    const auto busy = tokens(1, 400);
    const auto idle = tokens(1, 400 - copied_prefix_min + 1);
    std::vector<SlotView> slots = {{.slot = 0, .busy = true, .last_used = 1, .tokens = busy},
                                   {.slot = 1, .last_used = 2, .tokens = {}}};
    EXPECT_EQ(choose_slot(slots, prompt),
              (SlotChoice{.slot = 1, .cached_count = 400, .copy_from = 0}));
    slots[1].tokens = idle;
    EXPECT_EQ(choose_slot(slots, prompt).copy_from, 1U);
}

// Every prompt begins with the same token; that must not make two conversations evict each other
// while other slots are free.
TEST(ChooseSlot, KeepsAnotherConversationThatBeginsAlike) {
    auto chat = tokens(100, 400);
    const std::vector<SlotView> slots = {
        {.slot = 0, .last_used = 7, .tokens = chat},
        {.slot = 1, .last_used = 0, .tokens = {}},
        {.slot = 2, .last_used = 3, .tokens = {}},
    };
    auto other = tokens(100, 1);
    for (const TokenId token : tokens(900, 50)) other.push_back(token);
    EXPECT_EQ(choose_slot(slots, other),
              (SlotChoice{.slot = 1, .cached_count = 0, .copy_from = 1}));

    // With a system prompt in common, that is copied.
    auto branch = tokens(100, copied_prefix_min);
    for (const TokenId token : tokens(900, 50)) branch.push_back(token);
    EXPECT_EQ(choose_slot(slots, branch),
              (SlotChoice{.slot = 1, .cached_count = copied_prefix_min, .copy_from = 0}));
}

TEST(ChooseSlot, OverwritesTheEndOfAnAnswerThatIsSpelledAnew) {
    const auto chat = tokens(100, 400);
    const std::vector<SlotView> slots = {{.slot = 0, .last_used = 7, .tokens = chat},
                                         {.slot = 1, .last_used = 0, .tokens = {}}};
    auto next = tokens(100, 400 - overwritten_tokens_max);
    for (const TokenId token : tokens(900, 50)) next.push_back(token);
    EXPECT_EQ(
        choose_slot(slots, next),
        (SlotChoice{.slot = 0, .cached_count = 400 - overwritten_tokens_max, .copy_from = 0}));
}

}  // namespace
}  // namespace exomesh::engine
