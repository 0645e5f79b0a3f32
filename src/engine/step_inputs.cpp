#include "engine/step_inputs.h"

#include <algorithm>

#include "base/assert.h"
#include "engine/shard.h"

namespace exomesh::engine {

namespace {

// IEEE half precision.
constexpr std::uint16_t visible = 0x0000;  // 0
constexpr std::uint16_t hidden = 0xFC00;   // -infinity

}  // namespace

template <typename T>
void StepInputs::send(ggml_tensor* tensor, const std::vector<T>& values) {
    if (tensor == nullptr) return;
    EXO_ASSERT(values.size() * sizeof(T) == ggml_nbytes(tensor));
    // A graph may leave an input unused (a whole shard's last layer without outputs): no memory then.
    if (tensor->buffer == nullptr) return;
    ggml_backend_tensor_set_async(backend_, tensor, values.data(), 0, ggml_nbytes(tensor));
}

void StepInputs::fill_mask(ggml_tensor* mask, std::span<const SlotTokens> slots,
                           std::uint32_t first, std::uint32_t window) {
    if (mask == nullptr) return;
    if (masks_.size() == mask_count_) masks_.emplace_back();
    std::vector<std::uint16_t>& values = masks_[mask_count_++];
    const auto width = static_cast<std::size_t>(mask->ne[0]);
    values.assign(static_cast<std::size_t>(ggml_nelements(mask)), hidden);
    std::size_t row = 0;
    for (const SlotTokens& slot : slots) {
        for (std::size_t i = 0; i < slot.tokens.size(); ++i, ++row) {
            const std::uint32_t end = slot.first_position + static_cast<std::uint32_t>(i) + 1;
            const std::uint32_t begin =
                window == 0 || end <= window ? first : std::max(first, end - window);
            std::uint16_t* begin_of_row = values.data() + row * width;
            std::fill(begin_of_row + (begin - first), begin_of_row + (end - first), visible);
        }
    }
    send(mask, values);
}

void StepInputs::fill(const Graph& graph, std::span<const SlotTokens> batch,
                      std::uint32_t sliding_window, std::uint32_t context_length,
                      ggml_backend_t backend) {
    backend_ = backend;
    tokens_.clear();
    positions_.clear();
    cache_rows_.clear();
    output_rows_.clear();
    output_positions_.clear();
    for (const SlotTokens& slot : batch) {
        const std::size_t count = slot.tokens.size();
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t position = slot.first_position + static_cast<std::uint32_t>(i);
            const bool comes_out = slot.outputs == OutputRows::all ||
                                   (slot.outputs == OutputRows::last && i + 1 == count);
            if (comes_out) {
                output_rows_.push_back(static_cast<std::int32_t>(tokens_.size()));
                output_positions_.push_back(static_cast<std::int32_t>(position));
            }
            tokens_.push_back(slot.tokens[i]);
            positions_.push_back(static_cast<std::int32_t>(position));
            cache_rows_.push_back(std::int64_t{slot.slot} * context_length + position);
        }
    }
    send(graph.tokens, tokens_);
    send(graph.positions, positions_);
    send(graph.cache_rows, cache_rows_);
    send(graph.output_rows, output_rows_);
    send(graph.output_positions, output_positions_);
    mask_count_ = 0;
    std::size_t next = 0;
    for (std::size_t i = 0; i < graph.shape.segments.size(); ++i) {
        const Segment& segment = graph.shape.segments[i];
        const auto slots = batch.subspan(next, segment.slot_count);
        fill_mask(graph.masks[i], slots, 0, 0);
        fill_mask(graph.sliding_masks[i], slots, segment.sliding_first, sliding_window);
        next += segment.slot_count;
    }
}

}  // namespace exomesh::engine
