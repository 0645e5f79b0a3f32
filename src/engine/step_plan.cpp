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

// What a slot's tokens and a prompt have in common, and what of the slot the prompt would
// overwrite.
struct Overlap {
    std::uint32_t kept_count = 0;
    std::uint32_t lost_count = 0;
};

Overlap overlap_of(std::span<const TokenId> tokens, std::span<const TokenId> prompt) {
    const auto kept = std::ranges::mismatch(tokens, prompt).in1 - tokens.begin();
    const auto kept_count = static_cast<std::uint32_t>(kept);
    return {kept_count, static_cast<std::uint32_t>(tokens.size()) - kept_count};
}

bool is_nearer(const Overlap& a, const Overlap& b) {
    return a.kept_count != b.kept_count ? a.kept_count > b.kept_count : a.lost_count < b.lost_count;
}

}  // namespace

SlotChoice choose_slot(std::span<const SlotView> slots, std::span<const TokenId> prompt) {
    const auto reusable = prompt.first(prompt.size() - 1);
    const SlotView* nearest = nullptr;  // idle, with the longest prefix; then the least to lose
    Overlap nearest_overlap;
    const SlotView* oldest = nullptr;  // idle, unused for longest
    const SlotView* source = nullptr;  // any, with the longest prefix
    std::uint32_t source_count = 0;
    for (const SlotView& slot : slots) {
        const Overlap overlap = overlap_of(slot.tokens, reusable);
        if (source == nullptr || overlap.kept_count > source_count) {
            source = &slot;
            source_count = overlap.kept_count;
        }
        if (slot.busy) continue;
        if (oldest == nullptr || slot.last_used < oldest->last_used) oldest = &slot;
        if (nearest == nullptr || is_nearer(overlap, nearest_overlap)) {
            nearest = &slot;
            nearest_overlap = overlap;
        }
    }
    EXO_ASSERT(nearest != nullptr);
    // Almost every prompt shares something with every slot, if only the first token. What another
    // conversation holds after that is worth more than the copy of a prefix.
    const std::uint32_t lost_max = std::min(nearest_overlap.kept_count, overwritten_tokens_max);
    const SlotView& chosen = nearest_overlap.lost_count <= lost_max ? *nearest : *oldest;
    const std::uint32_t own_count = overlap_of(chosen.tokens, reusable).kept_count;
    if (source_count >= own_count + copied_prefix_min) {
        return {.slot = chosen.slot, .cached_count = source_count, .copy_from = source->slot};
    }
    return {.slot = chosen.slot,
            .cached_count = own_count >= kept_prefix_min ? own_count : 0,
            .copy_from = chosen.slot};
}

}  // namespace exomesh::engine
