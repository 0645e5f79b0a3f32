#include "engine/graph.h"

#include <cmath>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "engine/affine_split.h"

namespace exomesh::engine {

std::uint32_t GraphShape::token_count() const {
    std::uint32_t count = 0;
    for (const Segment& segment : segments) count += segment.slot_count * segment.token_count;
    return count;
}

std::uint32_t GraphShape::output_count() const {
    std::uint32_t count = 0;
    for (const Segment& segment : segments) count += segment.output_count();
    return count;
}

bool is_cut_at_sums(const GraphContext& context) {
    return context.reducer != nullptr && context.reduce_at == ReduceAt::cut;
}

namespace {

// Nodes of one layer between two sums, at most.
std::size_t layer_node_count_max(const GraphContext& context, const GraphShape& shape) {
    const std::size_t experts =
        context.architecture->experts ? 24 + 3UL * context.architecture->experts->used_count : 0;
    return 64 + 16 * shape.segments.size() + experts;
}

std::size_t node_count_max(const GraphContext& context, const GraphShape& shape) {
    return 64 + context.slice->layers.count * layer_node_count_max(context, shape);
}

// Of the parts' lists of nodes.
std::size_t parts_bytes_max(const GraphContext& context, std::size_t part_node_count) {
    if (!is_cut_at_sums(context)) return 0;
    return (2UL * context.slice->layers.count + 1) *
           (ggml_graph_overhead_custom(part_node_count, false) + 64);
}

// ggml's custom operation: puts the sum over all ranks in the place of this rank's part.
void reduce_in_place(ggml_tensor* target, const ggml_tensor* /*part: target is it*/, int thread,
                     int /*thread_count*/, void* reducer) {
    if (thread != 0) return;
    static_cast<Reducer*>(reducer)->reduce(static_cast<float*>(target->data), target->ne[0],
                                           target->ne[1]);
}

class Builder {
  public:
    Builder(const GraphContext& context, const GraphShape& shape)
        : architecture_(*context.architecture),
          slice_(*context.slice),
          weights_(*context.weights),
          cache_(*context.cache),
          reducer_(context.reducer),
          is_cut_(is_cut_at_sums(context)),
          attention_(context.attention) {
        const std::size_t node_count = node_count_max(context, shape);
        part_node_count_ = 64 + layer_node_count_max(context, shape);
        graph_.shape = shape;
        graph_.context.reset(ggml_init({.mem_size = node_count * ggml_tensor_overhead() +
                                                    ggml_graph_overhead_custom(node_count, false) +
                                                    parts_bytes_max(context, part_node_count_),
                                        .mem_buffer = nullptr,
                                        .no_alloc = true}));
        ggml_ = graph_.context.get();
        graph_.nodes = ggml_new_graph_custom(ggml_, node_count, false);
        token_count_ = shape.token_count();
        output_count_ = shape.output_count();
    }

    Graph run() {
        make_inputs();
        build_layers();
        if (is_cut_) make_parts();
        return std::move(graph_);
    }

  private:
    void build_layers() {
        ggml_tensor* states = embed();
        for (std::uint32_t layer = 0; layer < slice_.layers.count; ++layer) {
            states = build_layer(layer, states);
            if (states == nullptr) return;  // nothing is to come out
        }
        if (slice_.heads) states = head(states);
        ggml_set_output(states);
        ggml_build_forward_expand(graph_.nodes, states);
        graph_.output = states;
    }

    void make_parts() {
        const int node_count = ggml_graph_n_nodes(graph_.nodes);
        cuts_.push_back(node_count);
        int next = 0;
        for (const int end : cuts_) {
            ggml_cgraph* part = ggml_new_graph_custom(ggml_, part_node_count_, false);
            for (; next < end; ++next) {
                ggml_graph_add_node(part, ggml_graph_node(graph_.nodes, next));
            }
            graph_.parts.push_back(part);
        }
    }

    // The batch as one layer sees it: the last layer computes only the rows that come out.
    struct Rows {
        bool pruned = false;
        std::int64_t count = 0;
    };

    ggml_tensor* input(ggml_tensor* tensor, const char* name) {
        ggml_set_input(tensor);
        ggml_set_name(tensor, name);
        return tensor;
    }

    void make_inputs() {
        const std::int64_t tokens = token_count_;
        if (slice_.embeds) {
            graph_.tokens = input(ggml_new_tensor_1d(ggml_, GGML_TYPE_I32, tokens), "tokens");
        } else {
            graph_.states_in = input(
                ggml_new_tensor_2d(ggml_, GGML_TYPE_F32, architecture_.embedding_length, tokens),
                "states_in");
        }
        graph_.positions = input(ggml_new_tensor_1d(ggml_, GGML_TYPE_I32, tokens), "positions");
        graph_.cache_rows = input(ggml_new_tensor_1d(ggml_, GGML_TYPE_I64, tokens), "cache_rows");
        if (output_count_ != 0 && output_count_ != token_count_) {
            graph_.output_rows =
                input(ggml_new_tensor_1d(ggml_, GGML_TYPE_I32, output_count_), "output_rows");
            graph_.output_positions =
                input(ggml_new_tensor_1d(ggml_, GGML_TYPE_I32, output_count_), "output_positions");
        }
        bool any_full = false;
        bool any_sliding = false;
        for (std::uint32_t layer = 0; layer < slice_.layers.count; ++layer) {
            (is_sliding(layer) ? any_sliding : any_full) = true;
        }
        for (const Segment& segment : graph_.shape.segments) {
            EXO_ASSERT(segment.slot_count == 1 || segment.token_count == 1);
            const auto mask = [&](std::uint32_t first, const char* name) {
                return input(ggml_new_tensor_4d(ggml_, GGML_TYPE_F16, segment.kv_length - first,
                                                segment.token_count, 1, segment.slot_count),
                             name);
            };
            graph_.masks.push_back(any_full ? mask(0, "mask") : nullptr);
            graph_.sliding_masks.push_back(any_sliding ? mask(segment.sliding_first, "sliding_mask")
                                                       : nullptr);
        }
    }

    [[nodiscard]] bool is_sliding(std::uint32_t layer) const {
        return architecture_.sliding_window != 0 &&
               architecture_.layer_is_sliding[slice_.layers.first + layer];
    }

    ggml_tensor* embed() {
        if (!slice_.embeds) return graph_.states_in;
        ggml_tensor* states = ggml_get_rows(ggml_, weights_.token_embedding, graph_.tokens);
        if (architecture_.embedding_scale != 1.0) {
            states = ggml_scale(ggml_, states, static_cast<float>(architecture_.embedding_scale));
        }
        return states;
    }

    ggml_tensor* norm(ggml_tensor* states, ggml_tensor* weight) {
        return ggml_mul(
            ggml_, ggml_rms_norm(ggml_, states, static_cast<float>(architecture_.norm_epsilon)),
            weight);
    }

    ggml_tensor* multiply(const Matrix& matrix, ggml_tensor* states) {
        ggml_tensor* product = ggml_mul_mat(ggml_, matrix.weight, states);
        return matrix.offsets == nullptr ? product
                                         : add_offsets(ggml_, product, states, matrix.offsets);
    }

    ggml_tensor* head(ggml_tensor* states) {
        ggml_tensor* logits = multiply(weights_.output, norm(states, weights_.output_norm));
        const auto cap = static_cast<float>(architecture_.final_logit_softcap);
        if (cap != 0.0F) {
            logits =
                ggml_scale(ggml_, ggml_tanh(ggml_, ggml_scale(ggml_, logits, 1.0F / cap)), cap);
        }
        return logits;
    }

    // nullptr where this is the last layer and nothing comes out: its keys and values are all it
    // owes.
    ggml_tensor* build_layer(std::uint32_t layer, ggml_tensor* states) {
        const LayerWeights& weights = weights_.layers[layer];
        const bool is_last = layer + 1 == slice_.layers.count;
        Rows rows{.pruned = is_last && output_count_ != token_count_, .count = token_count_};
        if (rows.pruned) rows.count = output_count_;

        ggml_tensor* attended =
            attention(layer, weights, norm(states, weights.attention_norm), rows);
        if (attended == nullptr) return nullptr;
        ggml_tensor* residual =
            rows.pruned ? ggml_get_rows(ggml_, states, graph_.output_rows) : states;
        if (weights.attention_post_norm != nullptr) {
            attended = norm(attended, weights.attention_post_norm);
        }
        states = ggml_add(ggml_, attended, residual);

        ggml_tensor* normed = norm(states, weights.feed_forward_norm);
        ggml_tensor* out = reduce(slice_.feed_forward.count == 0 ? nothing_like(normed)
                                  : weights.router != nullptr    ? experts(weights, normed)
                                                                 : feed_forward(weights, normed));
        if (weights.feed_forward_post_norm != nullptr) {
            out = norm(out, weights.feed_forward_post_norm);
        }
        return ggml_add(ggml_, out, states);
    }

    // This rank's part of a sum → the whole sum.
    ggml_tensor* reduce(ggml_tensor* part) {
        if (reducer_ == nullptr) return part;
        if (is_cut_) {
            ggml_build_forward_expand(graph_.nodes, part);
            cuts_.push_back(ggml_graph_n_nodes(graph_.nodes));
            graph_.sums.push_back(part);
            return part;
        }
        return ggml_map_custom1_inplace(ggml_, part, reduce_in_place, 1, reducer_);
    }

    // The part of a rank that has no heads or no columns.
    ggml_tensor* nothing_like(ggml_tensor* states) { return ggml_scale(ggml_, states, 0.0F); }

    struct QueryKeyValue {
        ggml_tensor *query, *key, *value;  // [length, heads, tokens]
    };

    ggml_tensor* with_bias(ggml_tensor* states, ggml_tensor* bias) {
        return bias == nullptr ? states : ggml_add(ggml_, states, bias);
    }

    QueryKeyValue project(const LayerWeights& weights, ggml_tensor* states) {
        const std::int64_t key_length = architecture_.key_length;
        const std::int64_t value_length = architecture_.value_length;
        const std::int64_t query_heads = slice_.query_heads.count;
        const std::int64_t kv_heads = slice_.key_value_heads.count;
        const std::int64_t tokens = token_count_;
        if (!weights.query_key_value) {
            const auto heads_of = [&](const Matrix& weight, ggml_tensor* bias, std::int64_t length,
                                      std::int64_t heads) {
                return ggml_reshape_3d(ggml_, with_bias(multiply(weight, states), bias), length,
                                       heads, tokens);
            };
            return {heads_of(weights.query, weights.query_bias, key_length, query_heads),
                    heads_of(weights.key, weights.key_bias, key_length, kv_heads),
                    heads_of(weights.value, weights.value_bias, value_length, kv_heads)};
        }
        ggml_tensor* fused =
            with_bias(multiply(weights.query_key_value, states), weights.query_key_value_bias);
        std::size_t offset_bytes = 0;
        const auto part = [&](std::int64_t length, std::int64_t heads) {
            const auto head_bytes = static_cast<std::size_t>(length) * sizeof(float);
            ggml_tensor* view = ggml_view_3d(ggml_, fused, length, heads, tokens, head_bytes,
                                             fused->nb[1], offset_bytes);
            offset_bytes += head_bytes * static_cast<std::size_t>(heads);
            return view;
        };
        ggml_tensor* query = part(key_length, query_heads);
        ggml_tensor* key = part(key_length, kv_heads);
        return {query, key, part(value_length, kv_heads)};
    }

    ggml_tensor* rope(ggml_tensor* heads, ggml_tensor* positions, bool sliding) {
        const model::Rope& rope = architecture_.rope;
        const bool yarn = rope.scaling == model::RopeScalingKind::yarn && !sliding;
        const int mode =
            rope.kind == model::RopeKind::adjacent ? GGML_ROPE_TYPE_NORMAL : GGML_ROPE_TYPE_NEOX;
        return ggml_rope_ext(
            ggml_, heads, positions, rope_factors(), static_cast<int>(rope.dimension_count), mode,
            static_cast<int>(rope.original_context_length),
            static_cast<float>(sliding ? rope.frequency_base_sliding : rope.frequency_base),
            sliding ? 1.0F : static_cast<float>(1.0 / rope.scaling_factor),
            yarn ? static_cast<float>(rope.yarn_extrapolation_factor) : 0.0F,
            static_cast<float>(rope.attention_factor), static_cast<float>(rope.yarn_beta_fast),
            static_cast<float>(rope.yarn_beta_slow));
    }

    // LongRoPE has two sets: for contexts up to the original length and beyond it.
    ggml_tensor* rope_factors() {
        if (weights_.rope_factors_long == nullptr) return weights_.rope_factors;
        return cache_.context_length() > architecture_.rope.original_context_length
                   ? weights_.rope_factors_long
                   : weights_.rope_factors_short;
    }

    void store(ggml_tensor* heads, ggml_tensor* cache) {
        ggml_tensor* rows =
            ggml_view_2d(ggml_, heads, heads->ne[0] * heads->ne[1], heads->ne[2], heads->nb[2], 0);
        ggml_build_forward_expand(graph_.nodes,
                                  ggml_set_rows(ggml_, cache, rows, graph_.cache_rows));
    }

    // [heads * length, tokens] → [length, heads, chosen tokens]
    ggml_tensor* choose_queries(ggml_tensor* query) {
        ggml_tensor* flat =
            ggml_view_2d(ggml_, query, query->ne[0] * query->ne[1], query->ne[2], query->nb[2], 0);
        return ggml_reshape_3d(ggml_, ggml_get_rows(ggml_, flat, graph_.output_rows), query->ne[0],
                               query->ne[1], output_count_);
    }

    ggml_tensor* attention(std::uint32_t layer, const LayerWeights& weights, ggml_tensor* states,
                           const Rows& rows) {
        if (slice_.query_heads.count == 0) {
            if (rows.count == 0) {
                // Nothing here needs these states, but the other ranks wait for this one's sums.
                ggml_build_forward_expand(graph_.nodes, states);
                return nullptr;
            }
            return reduce(nothing_like(
                rows.pruned ? ggml_get_rows(ggml_, states, graph_.output_rows) : states));
        }
        const bool sliding = is_sliding(layer);
        auto [query, key, value] = project(weights, states);
        if (weights.key_norm != nullptr) key = norm(key, weights.key_norm);
        key = rope(key, graph_.positions, sliding);
        store(key, cache_.keys(layer));
        store(value, cache_.values(layer));
        if (rows.count == 0) return nullptr;
        if (rows.pruned) query = choose_queries(query);
        if (weights.query_norm != nullptr) query = norm(query, weights.query_norm);
        query = rope(query, rows.pruned ? graph_.output_positions : graph_.positions, sliding);
        const auto scale = static_cast<float>(architecture_.attention_scale);
        if (architecture_.scales_query) query = ggml_scale(ggml_, query, scale);

        ggml_tensor* joined = nullptr;
        std::int64_t row = 0;
        for (std::size_t i = 0; i < graph_.shape.segments.size(); ++i) {
            const Segment& segment = graph_.shape.segments[i];
            const std::int64_t per_slot =
                rows.pruned ? segment.output_count() / segment.slot_count : segment.token_count;
            if (per_slot == 0) continue;
            ggml_tensor* part = attend(layer, i, query, row, per_slot);
            joined = joined == nullptr ? part : ggml_concat(ggml_, joined, part, 1);
            row += per_slot * segment.slot_count;
        }
        return reduce(
            with_bias(multiply(weights.attention_output, joined), weights.attention_output_bias));
    }

    // One segment's attention: `per_slot` queries of each slot, from row `first_row` of `query` on.
    // Result: [heads * value_length, per_slot * slots].
    ggml_tensor* attend(std::uint32_t layer, std::size_t segment_index, ggml_tensor* query,
                        std::int64_t first_row, std::int64_t per_slot) {
        const Segment& segment = graph_.shape.segments[segment_index];
        const bool sliding = is_sliding(layer);
        const std::uint32_t first = sliding ? segment.sliding_first : 0;
        ggml_tensor* mask =
            sliding ? graph_.sliding_masks[segment_index] : graph_.masks[segment_index];
        if (per_slot != segment.token_count) {  // the last token's row; one slot (see Segment)
            mask = ggml_view_4d(
                ggml_, mask, mask->ne[0], per_slot, 1, 1, mask->nb[1], mask->nb[2], mask->nb[3],
                static_cast<std::size_t>(segment.token_count - per_slot) * mask->nb[1]);
        }
        ggml_tensor* queries = ggml_view_4d(ggml_, query, query->ne[0], query->ne[1], per_slot,
                                            segment.slot_count, query->nb[1], query->nb[2],
                                            query->nb[2] * static_cast<std::size_t>(per_slot),
                                            static_cast<std::size_t>(first_row) * query->nb[2]);
        queries = ggml_permute(ggml_, queries, 0, 2, 1, 3);
        ggml_tensor* keys = cached(cache_.keys(layer), architecture_.key_length, segment, first);
        ggml_tensor* values =
            cached(cache_.values(layer), architecture_.value_length, segment, first);
        const auto scale =
            architecture_.scales_query ? 1.0F : static_cast<float>(architecture_.attention_scale);
        ggml_tensor* out = nullptr;
        if (attention_ == AttentionKind::flash) {
            out = ggml_flash_attn_ext(ggml_, queries, keys, values, mask, scale, 0.0F, 0.0F);
            ggml_prec_set_acc(out, GGML_PREC_F32);
        } else {
            out = plain_attention(queries, keys, values, mask, scale);
        }
        return ggml_reshape_2d(ggml_, out, out->ne[0] * out->ne[1], out->ne[2] * out->ne[3]);
    }

    // [length, positions, kv heads, slots] of the cache.
    ggml_tensor* cached(ggml_tensor* cache, std::uint32_t length, const Segment& segment,
                        std::uint32_t first) {
        const std::size_t slot_bytes = cache->nb[1] * cache_.context_length();
        return ggml_view_4d(ggml_, cache, length, segment.kv_length - first,
                            slice_.key_value_heads.count, segment.slot_count, cache->nb[1],
                            ggml_row_size(cache->type, length), slot_bytes,
                            segment.slot_first * slot_bytes + first * cache->nb[1]);
    }

    // The same as flash attention in separate steps, for devices that lack or fail it.
    // Result: [value_length, heads, tokens, slots].
    ggml_tensor* plain_attention(ggml_tensor* queries, ggml_tensor* keys, ggml_tensor* values,
                                 ggml_tensor* mask, float scale) {
        ggml_tensor* scores = ggml_mul_mat(ggml_, keys, queries);
        ggml_prec_set_acc(scores, GGML_PREC_F32);
        scores = ggml_soft_max_ext(ggml_, scores, mask, scale, 0.0F);
        if (ggml_is_quantized(values->type)) values = ggml_cast(ggml_, values, GGML_TYPE_F32);
        ggml_tensor* transposed = ggml_cont(ggml_, ggml_transpose(ggml_, values));
        ggml_tensor* out = ggml_mul_mat(ggml_, transposed, scores);
        return ggml_cont(ggml_, ggml_permute(ggml_, out, 0, 2, 1, 3));
    }

    ggml_tensor* feed_forward(const LayerWeights& weights, ggml_tensor* states) {
        const bool silu = architecture_.activation == model::Activation::silu;
        ggml_tensor* hidden = nullptr;
        if (weights.gate_up) {
            ggml_tensor* gate_up = multiply(weights.gate_up, states);
            hidden = silu ? ggml_swiglu(ggml_, gate_up) : ggml_geglu(ggml_, gate_up);
        } else {
            ggml_tensor* up = multiply(weights.up, states);
            ggml_tensor* gate = multiply(weights.gate, states);
            hidden = silu ? ggml_swiglu_split(ggml_, gate, up) : ggml_geglu_split(ggml_, gate, up);
        }
        return multiply(weights.down, hidden);
    }

    // Mixture of experts: softmax over all, the best few, their outputs weighted and summed.
    ggml_tensor* experts(const LayerWeights& weights, ggml_tensor* states) {
        const model::Experts& experts = *architecture_.experts;
        const std::int64_t used = experts.used_count;
        const std::int64_t tokens = states->ne[1];
        ggml_tensor* probabilities =
            ggml_soft_max(ggml_, ggml_mul_mat(ggml_, weights.router, states));
        ggml_tensor* chosen = ggml_argsort_top_k(ggml_, probabilities, static_cast<int>(used));
        ggml_tensor* shares = ggml_get_rows(
            ggml_, ggml_reshape_3d(ggml_, probabilities, 1, experts.count, tokens), chosen);
        if (experts.weights_normalized) {
            ggml_tensor* flat = ggml_reshape_2d(ggml_, shares, used, tokens);
            ggml_tensor* sum = ggml_clamp(ggml_, ggml_sum_rows(ggml_, flat), 6.103515625e-5F,
                                          INFINITY);  // the smallest normal f16
            shares = ggml_reshape_3d(ggml_, ggml_div(ggml_, flat, sum), 1, used, tokens);
        }
        if (experts.weights_scale != 1.0) {
            shares = ggml_scale(ggml_, shares, static_cast<float>(experts.weights_scale));
        }
        ggml_build_forward_expand(graph_.nodes, shares);
        ggml_tensor* inputs = ggml_reshape_3d(ggml_, states, states->ne[0], 1, tokens);
        ggml_tensor* up = ggml_mul_mat_id(ggml_, weights.expert_up, inputs, chosen);
        ggml_tensor* gate = ggml_mul_mat_id(ggml_, weights.expert_gate, inputs, chosen);
        ggml_tensor* hidden = architecture_.activation == model::Activation::silu
                                  ? ggml_swiglu_split(ggml_, gate, up)
                                  : ggml_geglu_split(ggml_, gate, up);
        ggml_tensor* outputs =
            ggml_mul(ggml_, ggml_mul_mat_id(ggml_, weights.expert_down, hidden, chosen), shares);
        ggml_build_forward_expand(graph_.nodes, outputs);
        ggml_tensor* sum = nullptr;
        for (std::int64_t i = 0; i < used; ++i) {
            ggml_tensor* one = ggml_view_2d(ggml_, outputs, outputs->ne[0], tokens, outputs->nb[2],
                                            static_cast<std::size_t>(i) * outputs->nb[1]);
            sum = sum == nullptr ? one : ggml_add(ggml_, sum, one);
        }
        return used == 1 ? ggml_cont(ggml_, sum) : sum;
    }

    const model::Architecture& architecture_;
    const ShardSlice& slice_;
    const Weights& weights_;
    const KvCache& cache_;
    Reducer* reducer_;
    bool is_cut_;
    std::vector<int> cuts_;  // the number of nodes before each
    std::size_t part_node_count_ = 0;
    AttentionKind attention_;
    Graph graph_;
    ggml_context* ggml_ = nullptr;
    std::uint32_t token_count_ = 0;
    std::uint32_t output_count_ = 0;
};

}  // namespace

Graph build_graph(const GraphContext& context, const GraphShape& shape) {
    return Builder(context, shape).run();
}

}  // namespace exomesh::engine
