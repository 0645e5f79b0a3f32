// Which bytes of a GGUF file become which weight of a shard: pure, testable without a backend.
//
// A weight is the concatenation, along its rows, of parts of the file's tensors. That one idea
// covers fusing (q, k and v of equal type become one matrix, so do gate and up), files that come
// fused already, and slicing for tensor parallelism (row ranges of column-parallel matrices, input
// ranges of row-parallel ones).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/shard_slice.h"
#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::engine {

// A block of one tensor of the file: rows `rows` × elements `columns` of each row. A vector counts
// as one element per row, an expert matrix as `matrices` stacked matrices.
struct WeightPart {
    const model::TensorInfo* source = nullptr;
    Range rows;
    Range columns;
};

// What the weight is used for decides which buffer types can hold it.
enum class WeightUse { matrix_multiply, expert_matrix_multiply, look_up, vector };

struct WeightSpec {
    std::string name;  // unique in the shard
    WeightUse use = WeightUse::matrix_multiply;
    model::TensorType type = model::TensorType::f32;
    std::uint64_t column_count = 0;  // ggml ne0
    std::uint64_t row_count = 0;     // ggml ne1, of each matrix
    std::uint64_t matrix_count = 1;  // ggml ne2: experts
    std::vector<WeightPart> parts;   // along the rows of every matrix

    // True where the weight is one whole tensor of the file, byte for byte.
    [[nodiscard]] bool is_whole_tensor() const;
};

// Says for which types matrices of equal type become one. Fusing needs a copy of the bytes; it is
// for nothing where they are copied anyway.
using FusesType = std::function<bool(model::TensorType)>;

// The weights of layer `layer` as indices into WeightPlan::weights; absent ones are empty.
struct LayerPlan {
    using Index = std::optional<std::size_t>;
    Index attention_norm, attention_post_norm, feed_forward_norm, feed_forward_post_norm;
    Index query_key_value, query_key_value_bias;  // fused, or
    Index query, key, value, query_bias, key_bias, value_bias;
    Index query_norm, key_norm;
    Index attention_output, attention_output_bias;
    Index gate_up;  // fused, or
    Index gate, up;
    Index down;
    Index router, expert_gate, expert_up, expert_down;
};

struct WeightPlan {
    std::vector<WeightSpec> weights;
    std::vector<LayerPlan> layers;  // of slice.layers, in order
    LayerPlan::Index token_embedding, output_norm, output;
    LayerPlan::Index rope_factors, rope_factors_long, rope_factors_short;
};

// `gguf` must outlive the plan. The file has passed read_architecture, so required tensors exist
// and have the right shapes; what can still fail is a slice that is not aligned to a quantization
// block.
[[nodiscard]] Result<WeightPlan> plan_weights(const model::Gguf& gguf,
                                              const model::Architecture& architecture,
                                              const ShardSlice& slice, const FusesType& fuses);

// Copies the weight's bytes out of the mapped file, in ggml's layout, matrix by matrix.
// `target` has column_count/row_count/matrix_count's size in bytes.
void copy_weight(const WeightSpec& spec, std::span<const std::byte> file,
                 std::span<std::byte> target);

}  // namespace exomesh::engine
