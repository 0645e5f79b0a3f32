// Graphs computed one after the other in one piece of the device's memory: built once per shape and
// kept. What lies in one lane stays there while another lane computes.
#pragma once

#include <ggml-cpp.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "base/result.h"
#include "device/compute.h"
#include "engine/graph.h"
#include "engine/step_inputs.h"

namespace exomesh::engine {

struct SlotTokens;

// Used as its `compute` is, which must outlive it. Errors are resource_exhausted where none is
// said.
class Lane {
  public:
    explicit Lane(device::Compute& compute);

    // Sets memory aside for graphs of this shape. unsupported: the device cannot compute them.
    [[nodiscard]] Result<void> reserve(const GraphContext& context, const GraphShape& shape);

    // The graph of `batch` with its inputs on their way to the device. Valid until the next call.
    [[nodiscard]] Result<const Graph*> prepare(const GraphContext& context,
                                               std::span<const SlotTokens> batch,
                                               std::span<const float> states);

    // Waits for a partial sum and gives it to the reducer's start(); put_sum() puts what became of
    // it back. One sum at a time, and all on the host: the reducer works in between.
    [[nodiscard]] Result<void> take_sum(ggml_tensor* sum, Reducer& reducer);
    void put_sum(ggml_tensor* sum);

    // Waits for the graph and gives its output, in place where the host can read it.
    [[nodiscard]] Result<std::span<const float>> read_output(const Graph& graph);

    // After a failure: the allocator has given its memory back already, and the graphs it served
    // point into it.
    void forget_graphs();

    [[nodiscard]] std::size_t allocated_bytes() const { return allocated_bytes_; }

  private:
    [[nodiscard]] Result<void> check_operations(const Graph& graph) const;
    [[nodiscard]] Result<const Graph*> graph_for(const GraphContext& context,
                                                 const GraphShape& shape);

    device::Compute& compute_;
    ggml_gallocr_ptr allocator_ = nullptr;
    std::deque<Graph> graphs_;  // most recently used first
    std::size_t allocated_bytes_ = 0;
    StepInputs inputs_;
    device::HostMemory sums_;     // a partial sum on its way to the other ranks and back
    device::HostMemory outputs_;  // where the device's memory is not the host's
};

}  // namespace exomesh::engine
