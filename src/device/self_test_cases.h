// The operations the self-test compares: every ggml operation and weight type the engine's graphs
// use, in shapes small enough to be quick and odd enough to reach the edges of the devices' tiles.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "device/compute.h"

namespace exomesh::device {

// A tensor the case fills before it computes. `weight_use` is set where the tensor is a weight,
// which then lies where the engine would put it on that device (in repacked CPU memory, for one).
struct CaseInput {
    ggml_tensor* tensor = nullptr;
    std::vector<std::byte> bytes;
    bool is_weight = false;
    WeightUse weight_use = WeightUse::matrix;
};

// Weights by type and shape, made once: quantizing takes longer than the products do.
using WeightCache =
    std::map<std::pair<ggml_type, std::vector<std::int64_t>>, std::vector<std::byte>>;

// Makes the tensors of one case. The same case always gets the same values, on every device.
class CaseBuilder {
  public:
    CaseBuilder(ggml_context* context, std::uint64_t seed, WeightCache& weights)
        : context_(context), state_(seed), weights_(weights) {}

    [[nodiscard]] ggml_context* context() const { return context_; }
    [[nodiscard]] std::vector<CaseInput>& inputs() { return inputs_; }

    using Shape = std::vector<std::int64_t>;
    // Values uniform in [-1, 1), converted or quantized to `type`.
    ggml_tensor* random(ggml_type type, const Shape& shape);
    ggml_tensor* weight(WeightUse use, ggml_type type, const Shape& shape);
    // Distinct values in random order: sorting them has one answer.
    ggml_tensor* distinct(const Shape& shape);
    ggml_tensor* zeros(ggml_type type, const Shape& shape);
    ggml_tensor* integers(const std::vector<std::int32_t>& values);
    ggml_tensor* long_integers(const std::vector<std::int64_t>& values);
    // A causal attention mask of `key_count` × `query_count` (F16): the last query sees every key.
    ggml_tensor* causal_mask(std::int64_t key_count, std::int64_t query_count);

  private:
    ggml_tensor* fill(ggml_type type, const Shape& shape, const std::vector<float>& values);
    std::vector<float> uniform(std::size_t count);
    std::uint64_t next();

    ggml_context* context_;
    std::uint64_t state_;
    WeightCache& weights_;
    std::vector<CaseInput> inputs_;
};

enum class RowOrder { matters, any };  // top-k may give its indices in any order

struct Case {
    std::string name;
    double error_max = 0.0;  // normalized mean squared error
    RowOrder row_order = RowOrder::matters;
    std::function<ggml_tensor*(CaseBuilder&)> build;  // gives the tensor to compare
    std::string group = {};                           // one of self_test_groups()
};

[[nodiscard]] std::vector<Case> self_test_cases();

// The weight types of model files, in the order of their enumeration.
[[nodiscard]] const std::vector<ggml_type>& weight_types();

}  // namespace exomesh::device
