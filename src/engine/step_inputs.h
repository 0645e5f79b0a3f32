// The contents of a graph's inputs for one step: tokens, positions, cache rows, attention masks.
#pragma once

#include <ggml-backend.h>

#include <cstdint>
#include <span>
#include <vector>

#include "engine/graph.h"

namespace exomesh::engine {

struct SlotTokens;

// Keeps its scratch memory between steps.
class StepInputs {
  public:
    // `batch` has the graph's shape.
    void fill(const Graph& graph, std::span<const SlotTokens> batch, std::uint32_t sliding_window,
              std::uint32_t context_length, ggml_backend_t backend);

  private:
    void fill_mask(ggml_tensor* mask, std::span<const SlotTokens> slots, std::uint32_t first,
                   std::uint32_t window);
    template <typename T>
    void send(ggml_tensor* tensor, const std::vector<T>& values);

    ggml_backend_t backend_ = nullptr;
    std::vector<std::int32_t> tokens_;
    std::vector<std::int32_t> positions_;
    std::vector<std::int64_t> cache_rows_;
    std::vector<std::int32_t> output_rows_;
    std::vector<std::int32_t> output_positions_;
    // One per mask tensor: sending may go on after the next is written.
    std::vector<std::vector<std::uint16_t>> masks_;
    std::size_t mask_count_ = 0;
};

}  // namespace exomesh::engine
