#include "engine/step_plan.h"

#include <algorithm>

#include "base/assert.h"

namespace exomesh::engine {

std::vector<PlannedTokens> plan_step(std::span<const SlotWork> work, std::uint32_t chunk_length) {
    std::vector<PlannedTokens> plan;
    std::vector<const SlotWork*> prompts;
    std::uint32_t decode_count = 0;
    for (const SlotWork& slot : work) {
        if (slot.decoding) {
            plan.push_back({.slot = slot.slot, .token_count = 1, .finishes = true});
            ++decode_count;
        } else {
            prompts.push_back(&slot);
        }
    }
    std::ranges::sort(prompts, {}, &SlotWork::request);
    std::uint32_t left = chunk_length > decode_count ? chunk_length - decode_count : 1;
    for (const SlotWork* prompt : prompts) {
        if (left == 0) break;
        const std::uint32_t count = std::min(left, prompt->tokens_left);
        plan.push_back(
            {.slot = prompt->slot, .token_count = count, .finishes = count == prompt->tokens_left});
        left -= count;
    }
    std::ranges::sort(plan, {}, &PlannedTokens::slot);
    return plan;
}

namespace {

std::uint32_t common_prefix(std::span<const TokenId> a, std::span<const TokenId> b) {
    return static_cast<std::uint32_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

SlotChoice choose_slot(std::span<const SlotView> slots, std::span<const TokenId> prompt) {
    const auto reusable = prompt.first(prompt.size() - 1);
    const SlotView* best = nullptr;
    std::uint32_t best_count = 0;
    const SlotView* source = nullptr;
    std::uint32_t source_count = 0;
    for (const SlotView& slot : slots) {
        const std::uint32_t count = common_prefix(slot.tokens, reusable);
        if (source == nullptr || count > source_count) {
            source = &slot;
            source_count = count;
        }
        if (slot.busy) continue;
        const bool better = best == nullptr || count > best_count ||
                            (count == best_count && slot.last_used < best->last_used);
        if (better) {
            best = &slot;
            best_count = count;
        }
    }
    EXO_ASSERT(best != nullptr);
    if (source_count >= best_count + copied_prefix_min) {
        return {.slot = best->slot, .cached_count = source_count, .copy_from = source->slot};
    }
    return {.slot = best->slot, .cached_count = best_count, .copy_from = best->slot};
}

}  // namespace exomesh::engine
