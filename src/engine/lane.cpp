#include "engine/lane.h"

#include <ggml-alloc.h>

#include <algorithm>
#include <string>
#include <utility>

#include "engine/shard.h"

namespace exomesh::engine {

namespace {

// Graphs kept for reuse: decoding, and the shapes of a prefill that runs beside it.
constexpr std::size_t graph_count_max = 4;

}  // namespace

Lane::Lane(device::Compute& compute) : compute_(compute) {
    forget_graphs();
}

void Lane::forget_graphs() {
    graphs_.clear();
    allocator_.reset(ggml_gallocr_new(device::compute_buffer_type(compute_.device())));
    allocated_bytes_ = 0;
}

Result<void> Lane::reserve(const GraphContext& context, const GraphShape& shape) {
    const Graph graph = build_graph(context, shape);
    EXO_TRY(check_operations(graph));
    if (!ggml_gallocr_reserve(allocator_.get(), graph.nodes)) {
        return fail(ErrorCode::resource_exhausted,
                    "no room for the compute buffers on " + compute_.device().facts.id + ".",
                    "Use a shorter context or smaller chunks.");
    }
    allocated_bytes_ = ggml_gallocr_get_buffer_size(allocator_.get(), 0);
    return {};
}

Result<void> Lane::check_operations(const Graph& graph) const {
    for (int i = 0; i < ggml_graph_n_nodes(graph.nodes); ++i) {
        const ggml_tensor* node = ggml_graph_node(graph.nodes, i);
        if (!ggml_backend_supports_op(compute_.backend(), node)) {
            return fail(ErrorCode::unsupported,
                        compute_.device().facts.id + " lacks the operation " + ggml_op_desc(node) +
                            " for '" + node->name + "'.",
                        "Use another device, for example --device cpu.");
        }
    }
    return {};
}

Result<const Graph*> Lane::graph_for(const GraphContext& context, const GraphShape& shape) {
    const bool is_cut = is_cut_at_sums(context);
    const auto found = std::ranges::find_if(graphs_, [&](const Graph& graph) {
        return graph.shape == shape && graph.parts.empty() != is_cut;
    });
    if (found != graphs_.end()) {
        std::rotate(graphs_.begin(), found, found + 1);
        return &graphs_.front();
    }
    Graph graph = build_graph(context, shape);
    if (!ggml_gallocr_alloc_graph(allocator_.get(), graph.nodes)) {
        forget_graphs();
        return fail(ErrorCode::resource_exhausted,
                    "no room for the compute buffers on " + compute_.device().facts.id + ".",
                    "Use a shorter context or smaller chunks.");
    }
    // A buffer that grew has moved, and the older graphs point into the old one.
    const std::size_t size_bytes = ggml_gallocr_get_buffer_size(allocator_.get(), 0);
    if (size_bytes != std::exchange(allocated_bytes_, size_bytes)) graphs_.clear();
    if (graphs_.size() == graph_count_max) graphs_.pop_back();
    graphs_.push_front(std::move(graph));
    return &graphs_.front();
}

Result<const Graph*> Lane::prepare(const GraphContext& context, std::span<const SlotTokens> batch,
                                   std::span<const float> states) {
    const std::uint32_t context_length = context.cache->context_length();
    const GraphShape shape = shape_of_batch(batch, *context.architecture, context_length);
    EXO_TRY_ASSIGN(const Graph* graph, graph_for(context, shape));
    EXO_TRY(inputs_.fill(*graph, batch, states, context.architecture->sliding_window,
                         context_length, compute_));
    return graph;
}

Result<void> Lane::take_sum(ggml_tensor* sum, Reducer& reducer) {
    if (ggml_backend_buffer_is_host(sum->buffer)) {
        compute_.synchronize();
        reducer.start(static_cast<float*>(sum->data), sum->ne[0], sum->ne[1]);
        return {};
    }
    const std::size_t size_bytes = ggml_nbytes(sum);
    if (sums_.bytes().size() < size_bytes) {
        EXO_TRY_ASSIGN(sums_, device::HostMemory::allocate(compute_.device(), size_bytes));
    }
    std::byte* values = sums_.bytes().data();
    ggml_backend_tensor_get_async(compute_.backend(), sum, values, 0, size_bytes);
    compute_.synchronize();
    reducer.start(reinterpret_cast<float*>(values), sum->ne[0], sum->ne[1]);
    return {};
}

void Lane::put_sum(ggml_tensor* sum) {
    if (ggml_backend_buffer_is_host(sum->buffer)) return;
    // The device reads this memory before the next sum is read into it: copies keep their order.
    ggml_backend_tensor_set_async(compute_.backend(), sum, sums_.bytes().data(), 0,
                                  ggml_nbytes(sum));
}

Result<std::span<const float>> Lane::read_output(const Graph& graph) {
    if (graph.output == nullptr) {
        compute_.synchronize();
        return std::span<const float>();
    }
    const auto count = static_cast<std::size_t>(ggml_nelements(graph.output));
    const std::size_t size_bytes = count * sizeof(float);
    if (ggml_backend_buffer_is_host(graph.output->buffer)) {
        compute_.synchronize();
        return std::span(static_cast<const float*>(graph.output->data), count);
    }
    if (outputs_.bytes().size() < size_bytes) {
        EXO_TRY_ASSIGN(outputs_, device::HostMemory::allocate(compute_.device(), size_bytes));
    }
    std::byte* target = outputs_.bytes().data();
    ggml_backend_tensor_get_async(compute_.backend(), graph.output, target, 0, size_bytes);
    compute_.synchronize();
    return std::span(reinterpret_cast<const float*>(target), count);
}

}  // namespace exomesh::engine
