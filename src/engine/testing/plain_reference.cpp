#include "engine/testing/plain_reference.h"

#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <string>
#include <utility>

#include "base/assert.h"

namespace exomesh::engine::testing {

using model::Architecture;
using model::Gguf;
using model::Rope;
using model::RopeScalingKind;
using model::TensorInfo;

namespace {

using Vector = std::vector<double>;

void add_to(Vector& sum, const Vector& other) {
    EXO_ASSERT(sum.size() == other.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
}

Vector slice(const Vector& values, std::size_t begin, std::size_t count) {
    const auto from = values.begin() + static_cast<std::ptrdiff_t>(begin);
    return {from, from + static_cast<std::ptrdiff_t>(count)};
}

double dot(std::span<const double> a, std::span<const double> b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

void soften(Vector& values) {  // softmax
    const double largest = std::ranges::max(values);
    double sum = 0.0;
    for (double& value : values) sum += value = std::exp(value - largest);
    for (double& value : values) value /= sum;
}

double silu(double x) {
    return x / (1.0 + std::exp(-x));
}

double gelu(double x) {
    const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + std::tanh(inner));
}

struct Matrix {
    std::size_t column_count = 0;
    std::vector<float> values;  // row by row

    [[nodiscard]] std::size_t row_count() const { return values.size() / column_count; }
    [[nodiscard]] std::span<const float> row(std::size_t index) const {
        return std::span(values).subspan(index * column_count, column_count);
    }
    [[nodiscard]] Vector times(const Vector& input) const {
        EXO_ASSERT(input.size() == column_count);
        Vector output(row_count());
        for (std::size_t i = 0; i < output.size(); ++i) {
            const std::span<const float> weights = row(i);
            output[i] = std::inner_product(weights.begin(), weights.end(), input.begin(), 0.0);
        }
        return output;
    }
    // Rows [begin, begin + count).
    [[nodiscard]] Matrix rows(std::size_t begin, std::size_t count) const {
        const auto part = std::span(values).subspan(begin * column_count, count * column_count);
        return {.column_count = column_count, .values = {part.begin(), part.end()}};
    }
};

// How one layer rotates: the angle of each pair at position 1, and the factor of cos and sin.
struct Rotation {
    Vector angles;
    double magnitude = 1.0;
};

class Reference {
  public:
    Reference(const Gguf& gguf, std::span<const std::byte> file, const Architecture& architecture,
              std::uint32_t context_length)
        : gguf_(gguf), file_(file), architecture_(architecture), context_length_(context_length) {}

    std::vector<float> logits(std::span<const TokenId> tokens) {
        std::vector<Vector> states = embed(tokens);
        for (std::uint32_t layer = 0; layer < architecture_.layer_count; ++layer) {
            prefix_ = "blk." + std::to_string(layer) + ".";
            attention(states, architecture_.layer_is_sliding[layer]);
            feed_forward(states);
        }
        prefix_.clear();
        const Vector norm = vector("output_norm.weight");
        const Matrix head = matrix(has("output.weight") ? "output.weight" : "token_embd.weight");
        std::vector<float> all;
        for (const Vector& state : states) {
            for (const double logit : head.times(normalized(state, norm))) {
                const double cap = architecture_.final_logit_softcap;
                all.push_back(static_cast<float>(cap > 0 ? cap * std::tanh(logit / cap) : logit));
            }
        }
        return all;
    }

  private:
    [[nodiscard]] bool has(const std::string& name) const {
        return gguf_.tensor(prefix_ + name) != nullptr;
    }

    [[nodiscard]] Matrix matrix(const std::string& name) const {
        const TensorInfo* tensor = gguf_.tensor(prefix_ + name);
        EXO_ASSERT(tensor != nullptr);
        Matrix matrix{.column_count = tensor->shape[0],
                      .values = std::vector<float>(tensor->element_count())};
        const std::byte* data = file_.data() + tensor->offset_bytes;
        const ggml_type_traits* traits = ggml_get_type_traits(static_cast<ggml_type>(tensor->type));
        if (tensor->type == model::TensorType::f32) {
            std::memcpy(matrix.values.data(), data, tensor->size_bytes);
        } else {
            traits->to_float(data, matrix.values.data(),
                             static_cast<std::int64_t>(matrix.values.size()));
        }
        return matrix;
    }

    [[nodiscard]] Vector vector(const std::string& name) const {
        const std::vector<float> values = matrix(name).values;
        return {values.begin(), values.end()};
    }

    [[nodiscard]] Vector normalized(const Vector& input, const Vector& weight) const {
        const double mean_square = dot(input, input) / static_cast<double>(input.size());
        const double scale = 1.0 / std::sqrt(mean_square + architecture_.norm_epsilon);
        Vector output(input.size());
        for (std::size_t i = 0; i < input.size(); ++i) output[i] = input[i] * scale * weight[i];
        return output;
    }

    [[nodiscard]] std::vector<Vector> embed(std::span<const TokenId> tokens) const {
        const Matrix table = matrix("token_embd.weight");
        std::vector<Vector> states;
        for (const TokenId token : tokens) {
            const std::span<const float> row = table.row(static_cast<std::size_t>(token));
            Vector state(row.begin(), row.end());
            for (double& value : state) value *= architecture_.embedding_scale;
            states.push_back(std::move(state));
        }
        return states;
    }

    // The model's own factors of each pair's wavelength: Llama 3.1 has one set, LongRoPE two.
    [[nodiscard]] Vector rope_factors() const {
        const Rope& rope = architecture_.rope;
        const auto read = [&](const char* name) {
            const std::vector<float> values =
                Reference(gguf_, file_, architecture_, context_length_).matrix(name).values;
            return Vector(values.begin(), values.end());
        };
        if (rope.scaling == RopeScalingKind::long_rope) {
            const bool is_long = context_length_ > rope.original_context_length;
            return read(is_long ? "rope_factors_long.weight" : "rope_factors_short.weight");
        }
        if (gguf_.tensor("rope_freqs.weight") != nullptr) return read("rope_freqs.weight");
        return Vector(rope.dimension_count / 2, 1.0);
    }

    // YaRN's share of extrapolation for a pair: 1 for those that turn more than beta_fast times
    // within the original context, 0 below beta_slow turns, linear between the pairs where that
    // happens.
    [[nodiscard]] double yarn_share(std::size_t pair) const {
        const Rope& rope = architecture_.rope;
        const double dimension_count = rope.dimension_count;
        const auto pair_that_turns = [&](double count) {
            return dimension_count *
                   std::log(rope.original_context_length / (count * 2.0 * std::numbers::pi)) /
                   (2.0 * std::log(rope.frequency_base));
        };
        const double low = std::max(0.0, std::floor(pair_that_turns(rope.yarn_beta_fast)));
        const double high =
            std::min(dimension_count - 1, std::ceil(pair_that_turns(rope.yarn_beta_slow)));
        const double along = (static_cast<double>(pair) - low) / std::max(0.001, high - low);
        return (1.0 - std::clamp(along, 0.0, 1.0)) * rope.yarn_extrapolation_factor;
    }

    [[nodiscard]] Rotation rotation(bool is_sliding) const {
        const Rope& rope = architecture_.rope;
        const double base = is_sliding ? rope.frequency_base_sliding : rope.frequency_base;
        const Vector factors = rope_factors();
        Rotation result{.angles = {}, .magnitude = rope.attention_factor};
        for (std::size_t pair = 0; pair < rope.dimension_count / 2; ++pair) {
            const double exponent = 2.0 * static_cast<double>(pair) / rope.dimension_count;
            const double own = std::pow(base, -exponent) / factors[pair];
            double angle = own;
            if (!is_sliding && rope.scaling != RopeScalingKind::none) {
                const double share = rope.scaling == RopeScalingKind::yarn ? yarn_share(pair) : 0.0;
                angle = own * share + own / rope.scaling_factor * (1.0 - share);
            }
            result.angles.push_back(angle);
        }
        if (!is_sliding && rope.scaling == RopeScalingKind::yarn &&
            rope.yarn_extrapolation_factor != 0.0) {
            result.magnitude *= 0.1 * std::log(rope.scaling_factor) + 1.0;
        }
        return result;
    }

    void rotate(std::span<double> head, const Rotation& rotation, std::size_t position) const {
        const bool is_adjacent = architecture_.rope.kind == model::RopeKind::adjacent;
        const std::size_t pair_count = rotation.angles.size();
        for (std::size_t pair = 0; pair < pair_count; ++pair) {
            double& a = head[is_adjacent ? 2 * pair : pair];
            double& b = head[is_adjacent ? 2 * pair + 1 : pair + pair_count];
            const double angle = rotation.angles[pair] * static_cast<double>(position);
            const double cosine = std::cos(angle) * rotation.magnitude;
            const double sine = std::sin(angle) * rotation.magnitude;
            const double rotated = a * cosine - b * sine;
            b = a * sine + b * cosine;
            a = rotated;
        }
    }

    // Q, K or V of one token, before norm and rotation.
    struct Projection {
        Matrix weight;
        Vector bias;  // empty: none
        [[nodiscard]] Vector of(const Vector& input) const {
            Vector output = weight.times(input);
            if (!bias.empty()) add_to(output, bias);
            return output;
        }
    };

    // `begin`: its first row where the three are stored as one.
    [[nodiscard]] Projection projection(const std::string& name, std::size_t begin,
                                        std::size_t row_count) const {
        if (has("attn_qkv.weight")) {
            Vector bias;
            if (has("attn_qkv.bias")) bias = slice(vector("attn_qkv.bias"), begin, row_count);
            return {.weight = matrix("attn_qkv.weight").rows(begin, row_count), .bias = bias};
        }
        Vector bias;
        if (has(name + ".bias")) bias = vector(name + ".bias");
        return {.weight = matrix(name + ".weight"), .bias = bias};
    }

    // Splits into heads, norms each where the family does, and rotates.
    [[nodiscard]] std::vector<Vector> heads(const Vector& projected, const std::string& norm,
                                            const Rotation& rotation, std::size_t position) const {
        const std::size_t length = architecture_.key_length;
        std::vector<Vector> result;
        for (std::size_t begin = 0; begin < projected.size(); begin += length) {
            Vector head = slice(projected, begin, length);
            if (architecture_.query_key_norm) head = normalized(head, vector(norm));
            rotate(head, rotation, position);
            result.push_back(std::move(head));
        }
        return result;
    }

    // What one query head at a position sees: the values, weighed by softmax(scale * q·k).
    [[nodiscard]] Vector attend(const Vector& query, std::size_t position, std::size_t group,
                                const std::vector<std::vector<Vector>>& keys,
                                const std::vector<Vector>& values, bool is_sliding) const {
        std::size_t first = 0;
        const std::size_t window = architecture_.sliding_window;
        if (is_sliding && position + 1 > window) first = position + 1 - window;
        Vector weights;
        for (std::size_t seen = first; seen <= position; ++seen) {
            weights.push_back(architecture_.attention_scale * dot(query, keys[seen][group]));
        }
        soften(weights);
        const std::size_t length = architecture_.value_length;
        Vector result(length, 0.0);
        for (std::size_t seen = first; seen <= position; ++seen) {
            for (std::size_t i = 0; i < length; ++i) {
                result[i] += weights[seen - first] * values[seen][group * length + i];
            }
        }
        return result;
    }

    void attention(std::vector<Vector>& states, bool is_sliding) const {
        const std::size_t query_rows =
            std::size_t{architecture_.head_count} * architecture_.key_length;
        const std::size_t group_count = architecture_.key_value_head_count;
        const std::size_t key_rows = group_count * architecture_.key_length;
        const Projection query = projection("attn_q", 0, query_rows);
        const Projection key = projection("attn_k", query_rows, key_rows);
        const Projection value =
            projection("attn_v", query_rows + key_rows, group_count * architecture_.value_length);
        const Projection output{
            .weight = matrix("attn_output.weight"),
            .bias = has("attn_output.bias") ? vector("attn_output.bias") : Vector()};
        const Vector norm = vector("attn_norm.weight");
        const Rotation turn = rotation(is_sliding);
        std::vector<std::vector<Vector>> keys;
        std::vector<Vector> values;
        for (std::size_t position = 0; position < states.size(); ++position) {
            const Vector input = normalized(states[position], norm);
            keys.push_back(heads(key.of(input), "attn_k_norm.weight", turn, position));
            values.push_back(value.of(input));
            const auto queries = heads(query.of(input), "attn_q_norm.weight", turn, position);
            Vector joined;
            for (std::size_t head = 0; head < queries.size(); ++head) {
                const std::size_t group = head / (queries.size() / group_count);
                const Vector seen =
                    attend(queries[head], position, group, keys, values, is_sliding);
                joined.insert(joined.end(), seen.begin(), seen.end());
            }
            Vector result = output.of(joined);
            if (architecture_.post_norms) {
                result = normalized(result, vector("post_attention_norm.weight"));
            }
            add_to(states[position], result);
        }
    }

    struct GatedNetwork {
        Matrix gate, up, down;
    };

    [[nodiscard]] Vector run(const GatedNetwork& network, const Vector& input) const {
        Vector inner = network.gate.times(input);
        const Vector up = network.up.times(input);
        for (std::size_t i = 0; i < inner.size(); ++i) {
            switch (architecture_.activation) {
                case model::Activation::silu:
                    inner[i] = silu(inner[i]) * up[i];
                    break;
                case model::Activation::gelu:
                    inner[i] = gelu(inner[i]) * up[i];
                    break;
            }
        }
        return network.down.times(inner);
    }

    [[nodiscard]] std::vector<GatedNetwork> networks() const {
        std::vector<GatedNetwork> result;
        if (architecture_.experts) {
            const std::size_t inner = architecture_.experts->feed_forward_length;
            const std::size_t outer = architecture_.embedding_length;
            const Matrix gate = matrix("ffn_gate_exps.weight");
            const Matrix up = matrix("ffn_up_exps.weight");
            const Matrix down = matrix("ffn_down_exps.weight");
            for (std::size_t i = 0; i < architecture_.experts->count; ++i) {
                result.push_back({.gate = gate.rows(i * inner, inner),
                                  .up = up.rows(i * inner, inner),
                                  .down = down.rows(i * outer, outer)});
            }
        } else if (has("ffn_gate.weight")) {
            result.push_back({.gate = matrix("ffn_gate.weight"),
                              .up = matrix("ffn_up.weight"),
                              .down = matrix("ffn_down.weight")});
        } else {
            const std::size_t inner = architecture_.feed_forward_length;
            const Matrix both = matrix("ffn_up.weight");
            result.push_back({.gate = both.rows(0, inner),
                              .up = both.rows(inner, inner),
                              .down = matrix("ffn_down.weight")});
        }
        return result;
    }

    // The weight of each expert; zero for those that are not used.
    [[nodiscard]] Vector route(const Matrix& router, const Vector& input) const {
        const model::Experts& experts = *architecture_.experts;
        Vector shares = router.times(input);
        soften(shares);
        std::vector<std::size_t> order(shares.size());
        std::ranges::iota(order, 0U);
        std::ranges::stable_sort(order, [&](auto a, auto b) { return shares[a] > shares[b]; });
        double used_share = 0.0;
        for (std::size_t i = 0; i < order.size(); ++i) {
            if (i < experts.used_count) {
                used_share += shares[order[i]];
            } else {
                shares[order[i]] = 0.0;
            }
        }
        for (double& share : shares) {
            share *= experts.weights_scale / (experts.weights_normalized ? used_share : 1.0);
        }
        return shares;
    }

    void feed_forward(std::vector<Vector>& states) const {
        const Vector norm = vector("ffn_norm.weight");
        const std::vector<GatedNetwork> all = networks();
        const Matrix router = architecture_.experts ? matrix("ffn_gate_inp.weight") : Matrix();
        for (Vector& state : states) {
            const Vector input = normalized(state, norm);
            const Vector shares = architecture_.experts ? route(router, input) : Vector{1.0};
            Vector result(state.size(), 0.0);
            for (std::size_t i = 0; i < all.size(); ++i) {
                if (shares[i] == 0.0) continue;
                const Vector one = run(all[i], input);
                for (std::size_t j = 0; j < one.size(); ++j) result[j] += shares[i] * one[j];
            }
            if (architecture_.post_norms)
                result = normalized(result, vector("post_ffw_norm.weight"));
            add_to(state, result);
        }
    }

    const Gguf& gguf_;
    std::span<const std::byte> file_;
    const Architecture& architecture_;
    std::uint32_t context_length_;
    std::string prefix_;  // of the layer's tensors
};

}  // namespace

std::vector<float> plain_logits(const Gguf& gguf, std::span<const std::byte> file,
                                const Architecture& architecture, std::span<const TokenId> tokens,
                                std::uint32_t context_length) {
    return Reference(gguf, file, architecture, context_length).logits(tokens);
}

}  // namespace exomesh::engine::testing
