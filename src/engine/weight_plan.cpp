#include "engine/weight_plan.h"

#include <array>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "model/tensor_type.h"

namespace exomesh::engine {

using model::TensorInfo;
using model::TensorType;

namespace {

std::uint64_t row_bytes(TensorType type, std::uint64_t column_count) {
    const auto traits = model::tensor_type_traits(type);
    return column_count / traits.block_count * traits.block_bytes;
}

// How the file's tensor is seen as stacked matrices: a vector is a column, one element per row.
struct Matrices {
    std::uint64_t column_count, row_count, matrix_count;
};

Matrices matrices_of(const TensorInfo& tensor, WeightUse use) {
    if (use == WeightUse::vector) return {1, tensor.shape[0], 1};
    return {tensor.shape[0], tensor.shape[1], tensor.shape[2]};
}

class Planner {
  public:
    Planner(const model::Gguf& gguf, const model::Architecture& architecture,
            const ShardSlice& slice, const FusesType& fuses)
        : gguf_(gguf), architecture_(architecture), slice_(slice), fuses_(fuses) {}

    Result<WeightPlan> run() {
        if (slice_.embeds) plan_.token_embedding = whole("token_embd.weight", WeightUse::look_up);
        if (slice_.heads) {
            plan_.output_norm = whole("output_norm.weight", WeightUse::vector);
            const bool has_own = gguf_.tensor("output.weight") != nullptr;
            plan_.output = rows("output", has_own ? "output.weight" : "token_embd.weight",
                                WeightUse::matrix_multiply, slice_.vocabulary);
        }
        plan_.rope_factors = whole("rope_freqs.weight", WeightUse::vector);
        plan_.rope_factors_long = whole("rope_factors_long.weight", WeightUse::vector);
        plan_.rope_factors_short = whole("rope_factors_short.weight", WeightUse::vector);
        for (std::uint32_t layer = slice_.layers.first; layer < slice_.layers.end(); ++layer) {
            plan_layer(layer);
        }
        if (error_) return std::unexpected(*error_);
        return std::move(plan_);
    }

  private:
    using Index = LayerPlan::Index;

    Index add(WeightSpec spec) {
        plan_.weights.push_back(std::move(spec));
        return plan_.weights.size() - 1;
    }

    Index whole(const std::string& name, WeightUse use) {
        const TensorInfo* tensor = gguf_.tensor(name);
        if (tensor == nullptr) return std::nullopt;
        const Matrices matrices = matrices_of(*tensor, use);
        const Range all_rows{0, static_cast<std::uint32_t>(matrices.row_count)};
        return rows(name, name, use, all_rows);
    }

    // Whole rows of one tensor.
    Index rows(const std::string& name, const std::string& source, WeightUse use, Range range) {
        const TensorInfo* tensor = gguf_.tensor(source);
        if (tensor == nullptr) return std::nullopt;
        const auto columns = static_cast<std::uint32_t>(matrices_of(*tensor, use).column_count);
        return concatenate(name, use, {{tensor, range, {0, columns}}});
    }

    // An input range of one tensor: the same columns of every row.
    Index columns(const std::string& name, WeightUse use, Range range) {
        const TensorInfo* tensor = gguf_.tensor(name);
        if (tensor == nullptr) return std::nullopt;
        const auto all_rows = static_cast<std::uint32_t>(matrices_of(*tensor, use).row_count);
        const auto block = model::tensor_type_traits(tensor->type).block_count;
        if (range.first % block != 0 || range.count % block != 0) {
            error_ = Error{ErrorCode::invalid_argument,
                           "the slice of '" + name + "' is not aligned to its blocks of " +
                               std::to_string(block) + " values.",
                           "Choose shares that are multiples of it."};
            return std::nullopt;
        }
        return concatenate(name, use, {{tensor, {0, all_rows}, range}});
    }

    Index concatenate(std::string name, WeightUse use, std::vector<WeightPart> parts) {
        WeightSpec spec;
        spec.name = std::move(name);
        spec.use = use;
        spec.type = parts.front().source->type;
        spec.column_count = parts.front().columns.count;
        spec.matrix_count = matrices_of(*parts.front().source, use).matrix_count;
        for (const WeightPart& part : parts) spec.row_count += part.rows.count;
        spec.parts = std::move(parts);
        return add(std::move(spec));
    }

    // Rows of several tensors as one weight; nothing where one is missing or the types differ.
    Index fuse(const std::string& name, WeightUse use,
               const std::vector<std::pair<std::string, Range>>& sources) {
        std::vector<WeightPart> parts;
        for (const auto& [source, range] : sources) {
            const TensorInfo* tensor = gguf_.tensor(source);
            if (tensor == nullptr) return std::nullopt;
            if (!parts.empty() && tensor->type != parts.front().source->type) return std::nullopt;
            const auto column_count =
                static_cast<std::uint32_t>(matrices_of(*tensor, use).column_count);
            parts.push_back({tensor, range, {0, column_count}});
        }
        return concatenate(name, use, std::move(parts));
    }

    void plan_layer(std::uint32_t layer) {
        const std::string prefix = "blk." + std::to_string(layer) + ".";
        LayerPlan out;
        out.attention_norm = whole(prefix + "attn_norm.weight", WeightUse::vector);
        out.attention_post_norm = whole(prefix + "post_attention_norm.weight", WeightUse::vector);
        out.feed_forward_norm = whole(prefix + "ffn_norm.weight", WeightUse::vector);
        out.feed_forward_post_norm = whole(prefix + "post_ffw_norm.weight", WeightUse::vector);
        out.query_norm = whole(prefix + "attn_q_norm.weight", WeightUse::vector);
        out.key_norm = whole(prefix + "attn_k_norm.weight", WeightUse::vector);
        plan_attention(prefix, out);
        if (architecture_.experts) {
            plan_experts(prefix, out);
        } else {
            plan_feed_forward(prefix, out);
        }
        plan_.layers.push_back(out);
    }

    [[nodiscard]] bool fuses(const std::string& tensor_name) const {
        const TensorInfo* tensor = gguf_.tensor(tensor_name);
        return tensor != nullptr && fuses_(tensor->type);
    }

    [[nodiscard]] Range query_rows() const {
        return {slice_.query_heads.first * architecture_.key_length,
                slice_.query_heads.count * architecture_.key_length};
    }
    [[nodiscard]] Range key_rows() const {
        return {slice_.key_value_heads.first * architecture_.key_length,
                slice_.key_value_heads.count * architecture_.key_length};
    }
    [[nodiscard]] Range value_rows() const {
        return {slice_.key_value_heads.first * architecture_.value_length,
                slice_.key_value_heads.count * architecture_.value_length};
    }

    void plan_attention(const std::string& prefix, LayerPlan& out) {
        if (slice_.query_heads.count == 0) return;
        const Range output_inputs{slice_.query_heads.first * architecture_.value_length,
                                  slice_.query_heads.count * architecture_.value_length};
        out.attention_output =
            columns(prefix + "attn_output.weight", WeightUse::matrix_multiply, output_inputs);
        // A sum over ranks must contain the bias once: the rank with the first head adds it.
        if (slice_.query_heads.first == 0) {
            out.attention_output_bias = whole(prefix + "attn_output.bias", WeightUse::vector);
        }
        if (gguf_.tensor(prefix + "attn_qkv.weight") != nullptr) {
            plan_fused_file_attention(prefix, out);
            return;
        }
        const std::array<std::pair<const char*, Range>, 3> parts = {
            {{"attn_q", query_rows()}, {"attn_k", key_rows()}, {"attn_v", value_rows()}}};
        if (fuses(prefix + "attn_q.weight")) {
            std::vector<std::pair<std::string, Range>> weights;
            std::vector<std::pair<std::string, Range>> biases;
            for (const auto& [name, range] : parts) {
                weights.emplace_back(prefix + name + ".weight", range);
                biases.emplace_back(prefix + name + ".bias", range);
            }
            out.query_key_value =
                fuse(prefix + "attn_qkv.weight", WeightUse::matrix_multiply, weights);
            if (out.query_key_value) {
                out.query_key_value_bias =
                    fuse(prefix + "attn_qkv.bias", WeightUse::vector, biases);
                return;
            }
        }
        std::array<Index*, 3> weights = {&out.query, &out.key, &out.value};
        std::array<Index*, 3> biases = {&out.query_bias, &out.key_bias, &out.value_bias};
        for (std::size_t i = 0; i < parts.size(); ++i) {
            const std::string name = prefix + parts[i].first;
            *weights[i] = rows(name + ".weight", name + ".weight", WeightUse::matrix_multiply,
                               parts[i].second);
            *biases[i] = rows(name + ".bias", name + ".bias", WeightUse::vector, parts[i].second);
        }
    }

    // Files that store q, k and v as one tensor (phi3).
    void plan_fused_file_attention(const std::string& prefix, LayerPlan& out) {
        const std::uint32_t key_offset = architecture_.head_count * architecture_.key_length;
        const std::uint32_t value_offset =
            key_offset + architecture_.key_value_head_count * architecture_.key_length;
        Range keys = key_rows();
        Range values = value_rows();
        keys.first += key_offset;
        values.first += value_offset;
        const std::string weight = prefix + "attn_qkv.weight";
        const std::string bias = prefix + "attn_qkv.bias";
        out.query_key_value = fuse(weight, WeightUse::matrix_multiply,
                                   {{weight, query_rows()}, {weight, keys}, {weight, values}});
        out.query_key_value_bias =
            fuse(bias, WeightUse::vector, {{bias, query_rows()}, {bias, keys}, {bias, values}});
    }

    void plan_feed_forward(const std::string& prefix, LayerPlan& out) {
        const Range range = slice_.feed_forward;
        if (range.count == 0) return;
        const std::string gate = prefix + "ffn_gate.weight";
        const std::string up = prefix + "ffn_up.weight";
        out.down = columns(prefix + "ffn_down.weight", WeightUse::matrix_multiply, range);
        if (gguf_.tensor(gate) == nullptr) {  // stored as one: gate rows, then up rows
            const Range up_range{architecture_.feed_forward_length + range.first, range.count};
            out.gate_up = fuse(up, WeightUse::matrix_multiply, {{up, range}, {up, up_range}});
            return;
        }
        if (fuses(gate)) {
            out.gate_up = fuse(prefix + "ffn_gate_up.weight", WeightUse::matrix_multiply,
                               {{gate, range}, {up, range}});
            if (out.gate_up) return;
        }
        out.gate = rows(gate, gate, WeightUse::matrix_multiply, range);
        out.up = rows(up, up, WeightUse::matrix_multiply, range);
    }

    void plan_experts(const std::string& prefix, LayerPlan& out) {
        const Range range = slice_.feed_forward;
        if (range.count == 0) return;
        const auto use = WeightUse::expert_matrix_multiply;
        out.router = whole(prefix + "ffn_gate_inp.weight", WeightUse::matrix_multiply);
        const std::string gate = prefix + "ffn_gate_exps.weight";
        const std::string up = prefix + "ffn_up_exps.weight";
        out.expert_gate = rows(gate, gate, use, range);
        out.expert_up = rows(up, up, use, range);
        out.expert_down = columns(prefix + "ffn_down_exps.weight", use, range);
    }

    const model::Gguf& gguf_;
    const model::Architecture& architecture_;
    const ShardSlice& slice_;
    const FusesType& fuses_;
    WeightPlan plan_;
    std::optional<Error> error_;
};

}  // namespace

bool WeightSpec::is_whole_tensor() const {
    std::uint64_t next_row = 0;
    for (const WeightPart& part : parts) {
        if (part.source != parts.front().source || part.rows.first != next_row) return false;
        const Matrices matrices = matrices_of(*part.source, use);
        if (part.columns.first != 0 || part.columns.count != matrices.column_count) return false;
        next_row += part.rows.count;
    }
    return next_row == matrices_of(*parts.front().source, use).row_count;
}

Result<WeightPlan> plan_weights(const model::Gguf& gguf, const model::Architecture& architecture,
                                const ShardSlice& slice, const FusesType& fuses) {
    return Planner(gguf, architecture, slice, fuses).run();
}

void copy_weight(const WeightSpec& spec, std::span<const std::byte> file,
                 std::span<std::byte> target) {
    std::byte* out = target.data();
    for (std::uint64_t matrix = 0; matrix < spec.matrix_count; ++matrix) {
        for (const WeightPart& part : spec.parts) {
            const Matrices matrices = matrices_of(*part.source, spec.use);
            const std::uint64_t source_row_bytes = row_bytes(spec.type, matrices.column_count);
            const std::uint64_t part_row_bytes = row_bytes(spec.type, part.columns.count);
            const std::byte* in =
                file.data() + part.source->offset_bytes +
                (matrix * matrices.row_count + part.rows.first) * source_row_bytes +
                row_bytes(spec.type, part.columns.first);
            if (part_row_bytes == source_row_bytes) {
                std::memcpy(out, in, part.rows.count * part_row_bytes);
                out += part.rows.count * part_row_bytes;
                continue;
            }
            for (std::uint32_t row = 0; row < part.rows.count; ++row) {
                std::memcpy(out, in, part_row_bytes);
                out += part_row_bytes;
                in += source_row_bytes;
            }
        }
    }
    EXO_ASSERT(out == target.data() + target.size());
}

}  // namespace exomesh::engine
