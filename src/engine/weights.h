// The weights of one shard in the memory of one device.
//
// Each goes to the first of the device's buffer types that can hold it for its use: the CPU's
// repacked layouts come before plain memory (they decide its speed). Weights that need no copy stay
// in the mapped file: nothing is read before it is used, and the page cache is shared between
// processes. Q4_1 matrices become a repacked Q4_0 matrix and offsets there (affine_split.h).
#pragma once

#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/engine.h"
#include "engine/weight_plan.h"
#include "platform/mapped_file.h"

namespace exomesh::engine {

// What activations are multiplied with.
struct Matrix {
    ggml_tensor* weight = nullptr;   // [columns, rows]
    ggml_tensor* offsets = nullptr;  // where the weight was split: see affine_split.h

    explicit operator bool() const { return weight != nullptr; }
};

// Tensors of one layer; absent ones are nullptr. Shapes in ggml order, [columns, rows].
struct LayerWeights {
    ggml_tensor* attention_norm = nullptr;          // [embedding]
    ggml_tensor* attention_post_norm = nullptr;     // [embedding]
    ggml_tensor* feed_forward_norm = nullptr;       // [embedding]
    ggml_tensor* feed_forward_post_norm = nullptr;  // [embedding]
    Matrix query_key_value;  // [embedding, q + k + v rows], or the next three
    ggml_tensor* query_key_value_bias = nullptr;
    Matrix query, key, value;
    ggml_tensor *query_bias = nullptr, *key_bias = nullptr, *value_bias = nullptr;
    ggml_tensor *query_norm = nullptr, *key_norm = nullptr;  // [key_length]
    Matrix attention_output;                                 // [heads * value_length, embedding]
    ggml_tensor* attention_output_bias = nullptr;
    Matrix gate_up;  // [embedding, 2 * feed_forward], or the next two
    Matrix gate, up;
    Matrix down;                    // [feed_forward, embedding]
    ggml_tensor* router = nullptr;  // [embedding, experts]
    ggml_tensor *expert_gate = nullptr, *expert_up = nullptr, *expert_down = nullptr;
};

struct WeightsOptions {
    device::Device device;
    WeightLayout layout = WeightLayout::fast;
    std::function<void(double)> on_progress;  // 0 to 1
};

// Whether matrices of this type are copied on load: then fusing several costs nothing.
[[nodiscard]] bool copies_matrices(const device::Device& device, WeightLayout layout,
                                   model::TensorType type);

class Weights {
  public:
    // `file` must outlive the weights. Errors: resource_exhausted where the device has no room,
    // unsupported where no buffer type can hold a weight for its use.
    [[nodiscard]] static Result<Weights> load(const WeightPlan& plan,
                                              const platform::MappedFile& file,
                                              const WeightsOptions& options);

    std::vector<LayerWeights> layers;
    ggml_tensor* token_embedding = nullptr;  // [embedding, vocabulary]
    ggml_tensor* output_norm = nullptr;      // [embedding]
    Matrix output;                           // [embedding, vocabulary rows of the slice]
    ggml_tensor *rope_factors = nullptr, *rope_factors_long = nullptr,
                *rope_factors_short = nullptr;

    [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  private:
    friend class WeightLoader;
    std::vector<ggml_context_ptr> contexts_;
    std::vector<ggml_backend_buffer_ptr> buffers_;
    std::uint64_t size_bytes_ = 0;
};

}  // namespace exomesh::engine
