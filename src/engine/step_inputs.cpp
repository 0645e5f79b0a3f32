#include "engine/step_inputs.h"

#include <algorithm>

#include "base/assert.h"
#include "engine/shard.h"

namespace exomesh::engine {

namespace {

// IEEE half precision.
constexpr std::uint16_t visible = 0x0000;  // 0
constexpr std::uint16_t hidden = 0xFC00;   // -infinity

constexpr std::size_t piece_alignment_bytes = 64;

std::size_t piece_bytes(const ggml_tensor* tensor) {
    if (tensor == nullptr) return 0;
    return (ggml_nbytes(tensor) + piece_alignment_bytes - 1) / piece_alignment_bytes *
           piece_alignment_bytes;
}

std::size_t total_bytes(const Graph& graph) {
    std::size_t total = 0;
    for (const ggml_tensor* tensor :
         {graph.tokens, graph.states_in, graph.positions, graph.cache_rows, graph.output_rows,
          graph.output_positions}) {
        total += piece_bytes(tensor);
    }
    for (const auto* masks : {&graph.masks, &graph.sliding_masks}) {
        for (const ggml_tensor* mask : *masks) total += piece_bytes(mask);
    }
    return total;
}

}  // namespace

template <typename T>
std::span<T> StepInputs::place(const ggml_tensor* tensor) {
    if (tensor == nullptr) return {};
    const auto piece = memory_.bytes().subspan(used_bytes_, ggml_nbytes(tensor));
    used_bytes_ += piece_bytes(tensor);
    return {reinterpret_cast<T*>(piece.data()), piece.size() / sizeof(T)};
}

template <typename T>
void StepInputs::send(ggml_tensor* tensor, std::span<const T> values) const {
    // A graph may leave an input unused (a last layer without outputs): then it has no memory.
    if (tensor == nullptr || tensor->buffer == nullptr) return;
    EXO_ASSERT(values.size_bytes() == ggml_nbytes(tensor));
    ggml_backend_tensor_set_async(backend_, tensor, values.data(), 0, values.size_bytes());
}

void StepInputs::fill_tokens(const Graph& graph, std::span<const SlotTokens> batch,
                             std::uint32_t context_length) {
    const auto tokens = place<std::int32_t>(graph.tokens);
    const auto positions = place<std::int32_t>(graph.positions);
    const auto cache_rows = place<std::int64_t>(graph.cache_rows);
    const auto output_rows = place<std::int32_t>(graph.output_rows);
    const auto output_positions = place<std::int32_t>(graph.output_positions);
    std::size_t row = 0;
    std::size_t output = 0;
    for (const SlotTokens& slot : batch) {
        const std::size_t count = slot.tokens.size();
        for (std::size_t i = 0; i < count; ++i, ++row) {
            const std::uint32_t position = slot.first_position + static_cast<std::uint32_t>(i);
            if (!tokens.empty()) tokens[row] = slot.tokens[i];
            positions[row] = static_cast<std::int32_t>(position);
            cache_rows[row] = std::int64_t{slot.slot} * context_length + position;
            const bool comes_out = slot.outputs == OutputRows::all ||
                                   (slot.outputs == OutputRows::last && i + 1 == count);
            if (!comes_out || output_rows.empty()) continue;
            output_rows[output] = static_cast<std::int32_t>(row);
            output_positions[output++] = static_cast<std::int32_t>(position);
        }
    }
    send<std::int32_t>(graph.tokens, tokens);
    send<std::int32_t>(graph.positions, positions);
    send<std::int64_t>(graph.cache_rows, cache_rows);
    send<std::int32_t>(graph.output_rows, output_rows);
    send<std::int32_t>(graph.output_positions, output_positions);
}

void StepInputs::fill_mask(ggml_tensor* mask, std::span<const SlotTokens> slots,
                           std::uint32_t first, std::uint32_t window) {
    if (mask == nullptr) return;
    const auto values = place<std::uint16_t>(mask);
    std::ranges::fill(values, hidden);
    auto row = values.begin();
    for (const SlotTokens& slot : slots) {
        for (std::size_t i = 0; i < slot.tokens.size(); ++i, row += mask->ne[0]) {
            const std::uint32_t end = slot.first_position + static_cast<std::uint32_t>(i) + 1;
            const std::uint32_t begin =
                window == 0 || end <= window ? first : std::max(first, end - window);
            std::fill(row + (begin - first), row + (end - first), visible);
        }
    }
    send<std::uint16_t>(mask, values);
}

Result<void> StepInputs::fill(const Graph& graph, std::span<const SlotTokens> batch,
                              std::span<const float> states, std::uint32_t sliding_window,
                              std::uint32_t context_length, const device::Compute& compute) {
    backend_ = compute.backend();
    used_bytes_ = 0;
    const std::size_t needed_bytes = total_bytes(graph);
    if (memory_.bytes().size() < needed_bytes) {
        EXO_TRY_ASSIGN(memory_, device::HostMemory::allocate(compute.device(), needed_bytes));
    }
    fill_tokens(graph, batch, context_length);
    const auto states_in = place<float>(graph.states_in);
    EXO_ASSERT(states_in.size() == states.size());
    std::ranges::copy(states, states_in.begin());
    send<float>(graph.states_in, states_in);
    std::size_t next = 0;
    for (std::size_t i = 0; i < graph.shape.segments.size(); ++i) {
        const Segment& segment = graph.shape.segments[i];
        const auto slots = batch.subspan(next, segment.slot_count);
        fill_mask(graph.masks[i], slots, 0, 0);
        fill_mask(graph.sliding_masks[i], slots, segment.sliding_first, sliding_window);
        next += segment.slot_count;
    }
    return {};
}

}  // namespace exomesh::engine
