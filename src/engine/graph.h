// Describes the computation of one step of a shard as a ggml graph: shapes only, nothing is
// computed or allocated here, so it can be tested without weights' contents. One builder serves
// every family: it reads model::Architecture and which weights exist.
#pragma once

#include <ggml-cpp.h>
#include <ggml.h>

#include <cstdint>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/reducer.h"
#include "engine/shard_slice.h"
#include "engine/weights.h"
#include "model/architecture.h"

namespace exomesh::engine {

// Attention looks at a multiple of this many positions (the rest is masked), so that a graph serves
// many steps.
inline constexpr std::uint32_t kv_length_step = 256;

enum class OutputRows {
    none,
    last,
    all
};  // for which tokens of a slot logits (or states) come out

// Slots next to each other that get the same number of new tokens. Several slots only with one
// token each: a decode step.
struct Segment {
    std::uint32_t slot_first = 0;
    std::uint32_t slot_count = 1;
    std::uint32_t token_count = 1;    // per slot
    std::uint32_t kv_length = 0;      // positions attention looks at, a multiple of kv_length_step
    std::uint32_t sliding_first = 0;  // the first of them for layers with a sliding window
    OutputRows outputs = OutputRows::last;

    [[nodiscard]] std::uint32_t output_count() const {
        switch (outputs) {
            case OutputRows::none:
                return 0;
            case OutputRows::last:
                return slot_count;
            case OutputRows::all:
                return slot_count * token_count;
        }
        return 0;
    }
    bool operator==(const Segment&) const = default;
};

// Everything a graph's shape depends on. The batch's tokens lie in the order of the segments,
// within one by slot, within a slot by position.
struct GraphShape {
    std::vector<Segment> segments;

    [[nodiscard]] std::uint32_t token_count() const;
    [[nodiscard]] std::uint32_t output_count() const;
    bool operator==(const GraphShape&) const = default;
};

enum class AttentionKind { flash, plain };

// Where sums over ranks are made: by a node of the graph, which only the CPU can run, or by the
// caller, for whom the graph is cut there.
enum class ReduceAt { node, cut };

// What a graph is built from; all must outlive it.
struct GraphContext {
    const model::Architecture* architecture = nullptr;
    const ShardSlice* slice = nullptr;
    const Weights* weights = nullptr;
    const KvCache* cache = nullptr;
    Reducer* reducer = nullptr;  // where the slice is one of several over the same layers
    ReduceAt reduce_at = ReduceAt::node;
    AttentionKind attention = AttentionKind::flash;
};

// Whether graphs come in parts.
[[nodiscard]] bool is_cut_at_sums(const GraphContext& context);

struct Graph {
    GraphShape shape;
    ggml_context_ptr context;  // owns the tensors' descriptions
    ggml_cgraph* nodes = nullptr;

    // Inputs, to be filled before each computation. Absent ones are nullptr.
    ggml_tensor* tokens = nullptr;      // i32 [tokens]; where the slice embeds
    ggml_tensor* states_in = nullptr;   // f32 [embedding, tokens]; where it does not
    ggml_tensor* positions = nullptr;   // i32 [tokens]
    ggml_tensor* cache_rows = nullptr;  // i64 [tokens]: slot * context_length + position
    // i32 [outputs], of the batch's rows that come out; absent where all or none are wanted.
    ggml_tensor* output_rows = nullptr;
    ggml_tensor* output_positions = nullptr;
    std::vector<ggml_tensor*> masks;          // per segment f16 [kv_length, tokens, 1, slots]
    std::vector<ggml_tensor*> sliding_masks;  // [kv_length - sliding_first, tokens, 1, slots]

    // The nodes in order, cut after each partial sum: parts[i] ends in sums[i], which the caller
    // replaces by the sum over all ranks. Empty without cuts; else one part more than sums.
    std::vector<ggml_cgraph*> parts;
    std::vector<ggml_tensor*> sums;

    // f32 [vocabulary rows or embedding, outputs]; nullptr where no output is wanted.
    ggml_tensor* output = nullptr;
};

[[nodiscard]] Graph build_graph(const GraphContext& context, const GraphShape& shape);

}  // namespace exomesh::engine
