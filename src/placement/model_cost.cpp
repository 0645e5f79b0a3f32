#include <string>
#include <string_view>

#include "placement/cost_model.h"

namespace exomesh::placement {

namespace {

// Adds a matrix of which a token reads `read_share`. Vectors are left out: they are small, and
// every rank has them whole.
void add_matrix(PartCost& part, const model::TensorInfo& tensor, double read_share) {
    if (tensor.shape[1] <= 1) return;
    const auto bytes = static_cast<double>(tensor.size_bytes);
    part.size_bytes += bytes;
    part.read_bytes += bytes * read_share;
    part.weights_read += static_cast<double>(tensor.element_count()) * read_share;
}

}  // namespace

ModelCost model_cost(const model::Gguf& gguf, const model::Architecture& architecture,
                     double cache_value_bytes) {
    ModelCost cost;
    cost.attention.resize(architecture.layer_count);
    cost.feed_forward.resize(architecture.layer_count);
    cost.embedding_length = architecture.embedding_length;
    const double experts_used =
        architecture.experts
            ? static_cast<double>(architecture.experts->used_count) / architecture.experts->count
            : 1.0;
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        PartCost& attention = cost.attention[layer];
        const double head_values = architecture.key_length + architecture.value_length;
        attention.position_bytes =
            head_values * architecture.key_value_head_count * cache_value_bytes;
        attention.position_flops = 2.0 * head_values * architecture.head_count;
    }
    for (const model::TensorInfo& tensor : gguf.tensors()) {
        const std::string_view name = tensor.name;
        if (name == "token_embd.weight") {
            cost.embedding_bytes = static_cast<double>(tensor.size_bytes);
            if (architecture.tied_output) add_matrix(cost.output, tensor, 1.0);
        } else if (name == "output.weight") {
            add_matrix(cost.output, tensor, 1.0);
        }
    }
    for (std::uint32_t layer = 0; layer < architecture.layer_count; ++layer) {
        const std::string prefix = "blk." + std::to_string(layer) + ".";
        for (const char* name : {"attn_qkv", "attn_q", "attn_k", "attn_v", "attn_output"}) {
            const auto* tensor = gguf.tensor(prefix + name + ".weight");
            if (tensor != nullptr) add_matrix(cost.attention[layer], *tensor, 1.0);
        }
        for (const char* name : {"ffn_gate", "ffn_up", "ffn_down", "ffn_gate_inp"}) {
            const auto* tensor = gguf.tensor(prefix + name + ".weight");
            if (tensor != nullptr) add_matrix(cost.feed_forward[layer], *tensor, 1.0);
        }
        for (const char* name : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}) {
            const auto* tensor = gguf.tensor(prefix + name + ".weight");
            if (tensor != nullptr) add_matrix(cost.feed_forward[layer], *tensor, experts_used);
        }
    }
    return cost;
}

}  // namespace exomesh::placement
