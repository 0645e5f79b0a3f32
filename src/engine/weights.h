// The weights of one shard in the memory of one device.
//
// Each goes to the first of the device's buffer types that can hold it for its use: the CPU's
// repacked layouts come before plain memory (they decide its speed). Weights that need no copy stay
// in the mapped file: nothing is read before it is used, and the page cache is shared between
// processes.
#pragma once

#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/weight_plan.h"
#include "platform/mapped_file.h"

namespace exomesh::engine {

// Tensors of one layer; absent ones are nullptr. Shapes in ggml order, [columns, rows].
struct LayerWeights {
    ggml_tensor* attention_norm = nullptr;          // [embedding]
    ggml_tensor* attention_post_norm = nullptr;     // [embedding]
    ggml_tensor* feed_forward_norm = nullptr;       // [embedding]
    ggml_tensor* feed_forward_post_norm = nullptr;  // [embedding]
    ggml_tensor* query_key_value = nullptr;  // [embedding, q + k + v rows], or the next three
    ggml_tensor* query_key_value_bias = nullptr;
    ggml_tensor *query = nullptr, *key = nullptr, *value = nullptr;
    ggml_tensor *query_bias = nullptr, *key_bias = nullptr, *value_bias = nullptr;
    ggml_tensor *query_norm = nullptr, *key_norm = nullptr;  // [key_length]
    ggml_tensor* attention_output = nullptr;                 // [heads * value_length, embedding]
    ggml_tensor* attention_output_bias = nullptr;
    ggml_tensor* gate_up = nullptr;  // [embedding, 2 * feed_forward], or the next two
    ggml_tensor *gate = nullptr, *up = nullptr;
    ggml_tensor* down = nullptr;    // [feed_forward, embedding]
    ggml_tensor* router = nullptr;  // [embedding, experts]
    ggml_tensor *expert_gate = nullptr, *expert_up = nullptr, *expert_down = nullptr;
};

struct WeightsOptions {
    device::Device device;
    std::function<void(double)> on_progress;  // 0 to 1
};

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
    ggml_tensor* output = nullptr;           // [embedding, vocabulary rows of the slice]
    ggml_tensor *rope_factors = nullptr, *rope_factors_long = nullptr,
                *rope_factors_short = nullptr;

    [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
    // Of these, the bytes that stayed in the mapped file.
    [[nodiscard]] std::uint64_t mapped_bytes() const { return mapped_bytes_; }

  private:
    friend class WeightLoader;
    std::vector<ggml_context_ptr> contexts_;
    std::vector<ggml_backend_buffer_ptr> buffers_;
    std::uint64_t size_bytes_ = 0;
    std::uint64_t mapped_bytes_ = 0;
};

}  // namespace exomesh::engine
