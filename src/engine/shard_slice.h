// Which part of a model a shard holds: a layer range × a range of heads, FFN columns and vocabulary
// rows. An input of the weight loader and of the graph builder; the whole model is one such slice.
#pragma once

#include <cstdint>

#include "model/architecture.h"

namespace exomesh::engine {

// [first, first + count)
struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;

    [[nodiscard]] std::uint32_t end() const { return first + count; }
    bool operator==(const Range&) const = default;
};

struct ShardSlice {
    Range layers;
    Range query_heads;
    Range key_value_heads;
    Range feed_forward;  // columns of gate and up, inputs of down; of each expert in a MoE layer
    Range vocabulary;    // rows of the LM head
    bool embeds = true;  // holds the token embedding: takes token ids rather than hidden states
    bool heads =
        true;  // holds the final norm and the LM head: gives logits rather than hidden states

    [[nodiscard]] static ShardSlice whole(const model::Architecture& architecture) {
        const std::uint32_t feed_forward_length = architecture.experts
                                                      ? architecture.experts->feed_forward_length
                                                      : architecture.feed_forward_length;
        return {.layers = {0, architecture.layer_count},
                .query_heads = {0, architecture.head_count},
                .key_value_heads = {0, architecture.key_value_head_count},
                .feed_forward = {0, feed_forward_length},
                .vocabulary = {0, architecture.vocabulary_size}};
    }
};

}  // namespace exomesh::engine
