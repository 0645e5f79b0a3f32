// Cuts a model into shards: which layers, heads, FFN columns and vocabulary rows each rank gets.
// Pure. Shares may be uneven or zero; every unit goes to exactly one rank.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/shard_slice.h"
#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::engine {

// The smallest pieces a model can be cut into, as its shapes and quantization blocks allow: what
// placement must keep to.
struct Alignment {
    // Attention is cut between units of this many KV heads, with the query heads that use them...
    std::uint32_t key_value_heads_per_unit = 1;
    std::uint32_t attention_unit_count = 1;
    // ...or, where there is one KV head, between units of query heads: K and V are on every rank.
    bool replicates_key_value_head = false;
    std::uint32_t query_heads_per_unit = 1;
    std::uint32_t feed_forward_unit = 256;  // columns of gate and up, inputs of down
    std::uint32_t vocabulary_unit = 32;     // rows of the LM head
};

[[nodiscard]] Alignment alignment_of(const model::Gguf& gguf,
                                     const model::Architecture& architecture);

// Units for each share: proportional, by largest remainder (the lower rank wins a tie), all of them
// given away. Where there are at least as many units as positive shares, no positive share gets
// nothing. Shares are finite, not negative, and one is positive.
[[nodiscard]] std::vector<std::uint32_t> apportion(std::uint32_t unit_count,
                                                   std::span<const double> shares);

// Contiguous layer ranges. invalid_argument: more positive shares than layers, or bad shares.
[[nodiscard]] Result<std::vector<Range>> split_layers(std::uint32_t layer_count,
                                                      std::span<const double> shares);

// The slices of one tensor group over `layers`. A rank with share 0 gets no heads and columns but
// takes part in the sums. invalid_argument: bad shares.
[[nodiscard]] Result<std::vector<ShardSlice>> split_tensor(const Alignment& alignment,
                                                           const model::Architecture& architecture,
                                                           Range layers,
                                                           std::span<const double> shares);

// Whether split_layers() and split_tensor() could have made this slice, for one that a peer sent.
// invalid_argument whose message goes on behind the name of a rank: "has heads that ...".
[[nodiscard]] Result<void> check_slice(const Alignment& alignment,
                                       const model::Architecture& architecture,
                                       const ShardSlice& slice);

}  // namespace exomesh::engine
