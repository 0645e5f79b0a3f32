// Decides what the next step computes: pure. Every slot that decodes gets its one token; prompts
// share what a chunk leaves, the oldest request first. So a running decode waits for at most one
// chunk.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/generation.h"

namespace exomesh::engine {

// A slot that has work. Slots appear in ascending order.
struct SlotWork {
    std::uint32_t slot = 0;
    RequestId request = 0;          // ascending by age
    std::uint32_t tokens_left = 0;  // not yet computed, at least 1
    bool decoding = false;          // the tokens left are one sampled token
};

struct PlannedTokens {
    std::uint32_t slot = 0;
    std::uint32_t token_count = 0;
    bool finishes = false;  // all that is left: logits are wanted
    bool operator==(const PlannedTokens&) const = default;
};

// In ascending order of slots; slots that get nothing are left out.
[[nodiscard]] std::vector<PlannedTokens> plan_step(std::span<const SlotWork> work,
                                                   std::uint32_t chunk_length);

// Which slot a prompt should use. Pure.
struct SlotView {
    std::uint32_t slot = 0;
    bool busy = false;
    std::uint64_t last_used = 0;      // greater is later
    std::span<const TokenId> tokens;  // whose keys and values it holds
};

struct SlotChoice {
    std::uint32_t slot = 0;
    std::uint32_t cached_count = 0;  // leading prompt tokens found in a cache
    std::uint32_t copy_from = 0;     // == slot: in this one already
    bool operator==(const SlotChoice&) const = default;
};

// Copying a prefix from another slot must save at least this many tokens of prefill.
inline constexpr std::uint32_t copied_prefix_min = 32;

// A shorter prefix than this stays unused, if only the first token is shared, as often: it saves
// nothing, and cutting a prompt into other chunks rounds its attention in another way, so that the
// answer would depend on who asked before.
inline constexpr std::uint32_t kept_prefix_min = 8;

// A prompt that branches off what a slot holds may overwrite this many of its tokens: the end of an
// answer that the next prompt spells in other tokens. More, or more than it keeps, is another
// conversation, which is not to be lost.
inline constexpr std::uint32_t overwritten_tokens_max = 32;

// Among the slots that are not busy (at least one): the one with the longest common prefix if
// little of it is overwritten, else the one unused for longest. A longer prefix in any other slot
// is copied. The last prompt token is always computed anew, since its logits are wanted.
[[nodiscard]] SlotChoice choose_slot(std::span<const SlotView> slots,
                                     std::span<const TokenId> prompt);

}  // namespace exomesh::engine
