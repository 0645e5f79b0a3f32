#include "device/self_test_cases.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/assert.h"
#include "device/self_tester.h"

namespace exomesh::device {
namespace {

// A device may round activations to F16 or to 8 bits in products; a wrong kernel is off by about 1.
constexpr double product_error_max = 5e-4;
// Single operations in F32, with room for approximate transcendental functions and F16 look-up
// tables.
constexpr double elementwise_error_max = 1e-5;
// Rounding to an 8-bit block may fall to the other side of a tie.
constexpr double requantized_error_max = 1e-4;

std::size_t count_of(const CaseBuilder::Shape& shape) {
    return static_cast<std::size_t>(
        std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
}

void add_products(std::vector<Case>& cases, ggml_type type) {
    // 1 and 4 columns use the vector kernels, 33 an incomplete tile, 256 the largest tiles.
    for (const std::int64_t columns : {1, 4, 33, 256}) {
        cases.push_back(
            {std::string("mul_mat ") + ggml_type_name(type) + " x " + std::to_string(columns),
             product_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                 auto* weight = make.weight(WeightUse::matrix, type, {512, 160});
                 auto* input = make.random(GGML_TYPE_F32, {512, columns});
                 return ggml_mul_mat(make.context(), weight, input);
             }});
    }
    cases.push_back({std::string("get_rows ") + ggml_type_name(type), elementwise_error_max,
                     RowOrder::matters, [=](CaseBuilder& make) {
                         auto* table = make.weight(WeightUse::rows, type, {512, 32});
                         return ggml_get_rows(make.context(), table,
                                              make.integers({31, 0, 7, 7, 16}));
                     }});
}

void add_expert_products(std::vector<Case>& cases, ggml_type type) {
    for (const std::int64_t tokens : {1, 40}) {
        cases.push_back(
            {std::string("mul_mat_id ") + ggml_type_name(type) + " x " + std::to_string(tokens),
             product_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                 auto* weight = make.weight(WeightUse::expert_matrices, type, {256, 64, 4});
                 auto* input = make.random(GGML_TYPE_F32, {256, 1, tokens});
                 std::vector<std::int32_t> chosen;
                 for (std::int32_t token = 0; token < tokens; ++token) {
                     chosen.push_back(token % 4);
                     chosen.push_back((token + 1 + token % 3) % 4);
                 }
                 auto* ids = ggml_reshape_2d(make.context(), make.integers(chosen), 2, tokens);
                 return ggml_mul_mat_id(make.context(), weight, input, ids);
             }});
    }
}

// A KV cache of one element type: attention over it and writing to it.
void add_cache(std::vector<Case>& cases, ggml_type type) {
    for (const std::int64_t head_size : {64, 128, 256}) {
        for (const std::int64_t queries : {1, 35}) {
            cases.push_back({std::string("flash_attn_ext ") + ggml_type_name(type) + " head " +
                                 std::to_string(head_size) + " x " + std::to_string(queries),
                             product_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                                 auto* query = make.random(GGML_TYPE_F32, {head_size, queries, 8});
                                 auto* key = make.random(type, {head_size, 256, 2});
                                 auto* value = make.random(type, {head_size, 256, 2});
                                 auto* mask = make.causal_mask(256, queries);
                                 const auto scale = 1.0F / std::sqrt(static_cast<float>(head_size));
                                 auto* result = ggml_flash_attn_ext(make.context(), query, key,
                                                                    value, mask, scale, 0.0F, 0.0F);
                                 ggml_prec_set_acc(result, GGML_PREC_F32);
                                 return result;
                             }});
        }
    }
    cases.push_back({std::string("set_rows ") + ggml_type_name(type), requantized_error_max,
                     RowOrder::matters, [=](CaseBuilder& make) {
                         auto* cache = make.zeros(type, {256, 48});
                         auto* rows = make.random(GGML_TYPE_F32, {256, 5});
                         auto* ids = make.long_integers({47, 0, 3, 31, 32});
                         return ggml_set_rows(make.context(), cache, rows, ids);
                     }});
}

void add_attention(std::vector<Case>& cases) {
    cases.push_back({"mul_mat keys f16 x grouped queries", product_error_max, RowOrder::matters,
                     [](CaseBuilder& make) {
                         auto* keys = make.random(GGML_TYPE_F16, {64, 2, 48});
                         auto* queries = make.random(GGML_TYPE_F32, {64, 8, 5});
                         return ggml_mul_mat(make.context(),
                                             ggml_permute(make.context(), keys, 0, 2, 1, 3),
                                             ggml_permute(make.context(), queries, 0, 2, 1, 3));
                     }});
    cases.push_back(
        {"soft_max_ext", elementwise_error_max, RowOrder::matters, [](CaseBuilder& make) {
             auto* scores = make.random(GGML_TYPE_F32, {256, 7, 4});
             return ggml_soft_max_ext(make.context(), scores, make.causal_mask(256, 7), 3.0F, 0.0F);
         }});
    for (const int mode : {GGML_ROPE_TYPE_NORMAL, GGML_ROPE_TYPE_NEOX}) {
        for (const int dimensions : {128, 96}) {
            for (const bool with_factors : {false, true}) {
                cases.push_back(
                    {std::string("rope ") +
                         (mode == GGML_ROPE_TYPE_NORMAL ? "adjacent " : "halves ") +
                         std::to_string(dimensions) + (with_factors ? " with factors" : ""),
                     elementwise_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                         auto* heads = make.random(GGML_TYPE_F32, {128, 6, 4});
                         auto* positions = make.integers({0, 1, 77, 4000});
                         ggml_tensor* factors = nullptr;
                         if (with_factors) {
                             // exp keeps them positive, as a model's are.
                             factors = ggml_exp(make.context(),
                                                make.random(GGML_TYPE_F32, {dimensions / 2}));
                         }
                         return ggml_rope_ext(make.context(), heads, positions, factors, dimensions,
                                              mode, 8192, 10000.0F, 0.5F, 0.3F, 1.1F, 32.0F, 1.0F);
                     }});
            }
        }
    }
}

using UnaryBuilder = ggml_tensor* (*)(ggml_context*, ggml_tensor*);
using BinaryBuilder = ggml_tensor* (*)(ggml_context*, ggml_tensor*, ggml_tensor*);

void add_elementwise(std::vector<Case>& cases) {
    const auto unary = [&](const char* name, UnaryBuilder build) {
        cases.push_back({name, elementwise_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                             return build(make.context(), make.random(GGML_TYPE_F32, {192, 5}));
                         }});
    };
    const auto binary = [&](const char* name, BinaryBuilder build,
                            const CaseBuilder::Shape& second) {
        cases.push_back({name, elementwise_error_max, RowOrder::matters, [=](CaseBuilder& make) {
                             auto* first = make.random(GGML_TYPE_F32, {192, 5});
                             return build(make.context(), first,
                                          make.random(GGML_TYPE_F32, second));
                         }});
    };
    unary("silu", ggml_silu);
    unary("gelu", ggml_gelu);
    unary("tanh", ggml_tanh);
    unary("swiglu fused", ggml_swiglu);
    unary("geglu fused", ggml_geglu);
    unary("sum_rows", ggml_sum_rows);
    unary("cont transposed", [](ggml_context* context, ggml_tensor* input) {
        return ggml_cont(context, ggml_transpose(context, input));
    });
    unary("scale", [](ggml_context* context, ggml_tensor* input) {
        return ggml_scale(context, input, 0.37F);
    });
    unary("clamp", [](ggml_context* context, ggml_tensor* input) {
        return ggml_clamp(context, input, -0.5F, 0.25F);
    });
    unary("cast f16", [](ggml_context* context, ggml_tensor* input) {
        return ggml_cast(context, input, GGML_TYPE_F16);
    });
    unary("rms_norm", [](ggml_context* context, ggml_tensor* input) {
        return ggml_rms_norm(context, input, 1e-6F);
    });
    binary("swiglu split", ggml_swiglu_split, {192, 5});
    binary("geglu split", ggml_geglu_split, {192, 5});
    binary("add", ggml_add, {192, 5});
    binary("add one row to all", ggml_add, {192});
    binary("mul", ggml_mul, {192, 5});
    binary("mul by one row", ggml_mul, {192});
    binary("rms_norm then mul",
           [](ggml_context* context, ggml_tensor* input, ggml_tensor* weight) {
               return ggml_mul(context, ggml_rms_norm(context, input, 1e-6F), weight);
           },
           {192});
    binary("concat",
           [](ggml_context* context, ggml_tensor* first, ggml_tensor* second) {
               return ggml_concat(context, first, second, 1);
           },
           {192, 3});
    binary("cpy into a view",
           [](ggml_context* context, ggml_tensor* first, ggml_tensor* second) {
               auto* view = ggml_view_2d(context, second, 192, 5, second->nb[1], second->nb[1] * 2);
               return ggml_cpy(context, first, view);
           },
           {192, 9});
}

void add_choices(std::vector<Case>& cases) {
    cases.push_back({"argsort", 0.0, RowOrder::matters, [](CaseBuilder& make) {
                         return ggml_argsort(make.context(), make.distinct({128, 3}),
                                             GGML_SORT_ORDER_DESC);
                     }});
    cases.push_back({"argsort top 8", 0.0, RowOrder::matters, [](CaseBuilder& make) {
                         auto* best =
                             ggml_argsort_top_k(make.context(), make.distinct({128, 3}), 8);
                         return ggml_cont(make.context(), best);
                     }});
    cases.push_back({"top_k", 0.0, RowOrder::any, [](CaseBuilder& make) {
                         return ggml_top_k(make.context(), make.distinct({1000, 3}), 8);
                     }});
    cases.push_back({"argmax", 0.0, RowOrder::matters, [](CaseBuilder& make) {
                         return ggml_argmax(make.context(), make.distinct({1000, 3}));
                     }});
    // The whole routing of a mixture of experts: drivers and backends fuse exactly this chain.
    cases.push_back(
        {"expert routing", elementwise_error_max, RowOrder::matters, [](CaseBuilder& make) {
             constexpr std::int64_t experts = 32;
             constexpr std::int64_t used = 4;
             constexpr std::int64_t tokens = 6;
             auto* context = make.context();
             auto* odds = ggml_soft_max(context, make.distinct({experts, tokens}));
             auto* chosen = ggml_argsort_top_k(context, odds, static_cast<int>(used));
             auto* weights =
                 ggml_get_rows(context, ggml_reshape_3d(context, odds, 1, experts, tokens), chosen);
             weights = ggml_reshape_2d(context, weights, used, tokens);
             return ggml_div(context, weights, ggml_sum_rows(context, weights));
         }});
}

constexpr std::array cache_types = {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_F32};

}  // namespace

std::string products_group(ggml_type type) {
    return std::string("products of ") + ggml_type_name(type);
}

std::string expert_products_group(ggml_type type) {
    return std::string("expert products of ") + ggml_type_name(type);
}

std::string cache_group(ggml_type type) {
    return std::string("cache of ") + ggml_type_name(type);
}

std::vector<std::string> self_test_groups() {
    std::vector<std::string> groups = {std::string(operations_group)};
    for (const auto type : cache_types) groups.push_back(cache_group(type));
    for (const auto type : weight_types()) {
        groups.push_back(products_group(type));
        groups.push_back(expert_products_group(type));
    }
    return groups;
}

std::uint64_t CaseBuilder::next() {
    // splitmix64: tiny, and the same everywhere.
    std::uint64_t mixed = (state_ += 0x9E3779B97F4A7C15U);
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    return mixed ^ (mixed >> 31U);
}

std::vector<float> CaseBuilder::uniform(std::size_t count) {
    std::vector<float> values(count);
    for (auto& value : values) value = static_cast<float>(next() >> 40U) / 8388608.0F - 1.0F;
    return values;
}

ggml_tensor* CaseBuilder::fill(ggml_type type, const Shape& shape,
                               const std::vector<float>& values) {
    auto* tensor = ggml_new_tensor(context_, type, static_cast<int>(shape.size()), shape.data());
    CaseInput input{tensor, std::vector<std::byte>(ggml_nbytes(tensor)), false, {}};
    if (type == GGML_TYPE_F32) {
        std::memcpy(input.bytes.data(), values.data(), input.bytes.size());
    } else {
        ggml_quantize_chunk(type, values.data(), input.bytes.data(), 0, ggml_nrows(tensor),
                            tensor->ne[0], nullptr);
    }
    inputs_.push_back(std::move(input));
    return tensor;
}

ggml_tensor* CaseBuilder::random(ggml_type type, const Shape& shape) {
    return fill(type, shape, uniform(count_of(shape)));
}

ggml_tensor* CaseBuilder::weight(WeightUse use, ggml_type type, const Shape& shape) {
    auto& bytes = weights_[{type, shape}];
    ggml_tensor* tensor = nullptr;
    if (bytes.empty()) {
        // The values must not depend on which case asks first.
        const auto state = std::exchange(state_, static_cast<std::uint64_t>(type));
        tensor = random(type, shape);
        bytes = inputs_.back().bytes;
        state_ = state;
    } else {
        tensor = ggml_new_tensor(context_, type, static_cast<int>(shape.size()), shape.data());
        inputs_.push_back({tensor, bytes, false, {}});
    }
    inputs_.back().is_weight = true;
    inputs_.back().weight_use = use;
    return tensor;
}

ggml_tensor* CaseBuilder::distinct(const Shape& shape) {
    std::vector<float> values(count_of(shape));
    const auto step = 8.0F / static_cast<float>(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) * step - 4.0F;
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[next() % i]);
    return fill(GGML_TYPE_F32, shape, values);
}

ggml_tensor* CaseBuilder::zeros(ggml_type type, const Shape& shape) {
    return fill(type, shape, std::vector<float>(count_of(shape), 0.0F));
}

ggml_tensor* CaseBuilder::integers(const std::vector<std::int32_t>& values) {
    auto* tensor =
        ggml_new_tensor_1d(context_, GGML_TYPE_I32, static_cast<std::int64_t>(values.size()));
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    inputs_.push_back({tensor, {bytes, bytes + ggml_nbytes(tensor)}, false, {}});
    return tensor;
}

ggml_tensor* CaseBuilder::long_integers(const std::vector<std::int64_t>& values) {
    auto* tensor =
        ggml_new_tensor_1d(context_, GGML_TYPE_I64, static_cast<std::int64_t>(values.size()));
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    inputs_.push_back({tensor, {bytes, bytes + ggml_nbytes(tensor)}, false, {}});
    return tensor;
}

ggml_tensor* CaseBuilder::causal_mask(std::int64_t key_count, std::int64_t query_count) {
    EXO_ASSERT(key_count >= query_count);
    std::vector<float> values;
    for (std::int64_t query = 0; query < query_count; ++query) {
        for (std::int64_t key = 0; key < key_count; ++key) {
            const bool visible = key <= key_count - query_count + query;
            values.push_back(visible ? 0.0F : -std::numeric_limits<float>::infinity());
        }
    }
    return fill(GGML_TYPE_F16, {key_count, query_count}, values);
}

const std::vector<ggml_type>& weight_types() {
    static const std::vector<ggml_type> types = {
        GGML_TYPE_F32,  GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_Q4_0,   GGML_TYPE_Q4_1,
        GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, GGML_TYPE_Q2_K,   GGML_TYPE_Q3_K,
        GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_MXFP4};
    return types;
}

std::vector<Case> self_test_cases() {
    std::vector<Case> cases;
    const auto add = [&](const std::string& group, const auto& cases_of) {
        const std::size_t first = cases.size();
        cases_of();
        for (std::size_t i = first; i < cases.size(); ++i) cases[i].group = group;
    };
    add(std::string(operations_group), [&] {
        add_attention(cases);
        add_elementwise(cases);
        add_choices(cases);
    });
    for (const auto type : cache_types) {
        add(cache_group(type), [&] { add_cache(cases, type); });
    }
    for (const auto type : weight_types()) {
        add(products_group(type), [&] { add_products(cases, type); });
        add(expert_products_group(type), [&] { add_expert_products(cases, type); });
    }
    return cases;
}

}  // namespace exomesh::device
