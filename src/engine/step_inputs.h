// The contents of a graph's inputs for one step: tokens, positions, cache rows, attention masks.
#pragma once

#include <ggml-backend.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "device/compute.h"
#include "engine/graph.h"

namespace exomesh::engine {

struct SlotTokens;

// Writes every input into memory the device reads directly and queues its copy: nothing waits.
// Keeps that memory between steps, so the device must have finished a step before the next is
// filled.
class StepInputs {
  public:
    // `batch` has the graph's shape; `states` are for a graph that takes them, else empty.
    // resource_exhausted: no memory for the masks.
    [[nodiscard]] Result<void> fill(const Graph& graph, std::span<const SlotTokens> batch,
                                    std::span<const float> states, std::uint32_t sliding_window,
                                    std::uint32_t context_length, const device::Compute& compute);

  private:
    void fill_tokens(const Graph& graph, std::span<const SlotTokens> batch,
                     std::uint32_t context_length);
    void fill_mask(ggml_tensor* mask, std::span<const SlotTokens> slots, std::uint32_t first,
                   std::uint32_t window);
    // The next piece of memory_, as large as the tensor; empty where the graph has no such input.
    template <typename T>
    [[nodiscard]] std::span<T> place(const ggml_tensor* tensor);
    template <typename T>
    void send(ggml_tensor* tensor, std::span<const T> values) const;

    device::HostMemory memory_;
    std::size_t used_bytes_ = 0;
    ggml_backend_t backend_ = nullptr;
};

}  // namespace exomesh::engine
