#include "engine/shard.h"

#include <ggml-alloc.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "device/backend_log.h"
#include "device/compute.h"
#include "engine/step_inputs.h"
#include "platform/trace.h"

namespace exomesh::engine {

namespace {

// Graphs kept for reuse: decoding, and the shapes of a prefill that runs beside it.
constexpr std::size_t graph_count_max = 4;

std::uint32_t round_up(std::uint32_t value, std::uint32_t step) {
    return (value + step - 1) / step * step;
}

// Vulkan's C++ bindings throw, e.g. for a lost device.
std::unexpected<Error> device_threw(const device::Device& device, const std::exception& exception) {
    return fail(
        ErrorCode::unavailable,
        device.facts.id + " failed: " + exception.what() + "." + device::backend_complaints(),
        "Restart, or use --device cpu.");
}

bool can_join(const Segment& segment, const SlotTokens& next) {
    return segment.token_count == 1 && next.tokens.size() == 1 &&
           next.slot == segment.slot_first + segment.slot_count &&
           (segment.outputs == OutputRows::none) == (next.outputs == OutputRows::none);
}

}  // namespace

GraphShape shape_of_batch(std::span<const SlotTokens> batch,
                          const model::Architecture& architecture, std::uint32_t context_length) {
    GraphShape shape;
    for (const SlotTokens& tokens : batch) {
        const auto count = static_cast<std::uint32_t>(tokens.tokens.size());
        EXO_ASSERT(count > 0 && tokens.first_position + count <= context_length);
        const std::uint32_t kv_length =
            std::min(round_up(tokens.first_position + count, kv_length_step), context_length);
        const std::uint32_t window = architecture.sliding_window;
        const std::uint32_t sliding_first =
            window == 0 || tokens.first_position + 1 < window
                ? 0
                : (tokens.first_position + 1 - window) / kv_length_step * kv_length_step;
        if (!shape.segments.empty() && can_join(shape.segments.back(), tokens)) {
            Segment& segment = shape.segments.back();
            ++segment.slot_count;
            segment.kv_length = std::max(segment.kv_length, kv_length);
            segment.sliding_first = std::min(segment.sliding_first, sliding_first);
        } else {
            shape.segments.push_back({.slot_first = tokens.slot,
                                      .slot_count = 1,
                                      .token_count = count,
                                      .kv_length = kv_length,
                                      .sliding_first = sliding_first,
                                      .outputs = tokens.outputs});
        }
    }
    return shape;
}

struct Shard::State {
    const ModelFile* model = nullptr;
    ShardSlice slice;
    AttentionKind attention = AttentionKind::flash;
    Reducer* reducer = nullptr;
    ReduceAt reduce_at = ReduceAt::node;
    device::Compute compute;
    Weights weights;
    KvCache cache;
    ggml_gallocr_ptr allocator = nullptr;
    std::deque<Graph> graphs;  // most recently used first
    std::size_t allocated_bytes = 0;
    StepInputs inputs;
    std::span<const float> output;  // of the step that was started last
    device::HostMemory sums;        // a partial sum on its way to the other ranks and back
    device::HostMemory outputs;     // where the device's memory is not the host's

    State(const ModelFile& file, const ShardSlice& shard_slice, AttentionKind kind,
          device::Compute device_compute, Weights shard_weights, KvCache kv_cache)
        : model(&file),
          slice(shard_slice),
          attention(kind),
          compute(std::move(device_compute)),
          weights(std::move(shard_weights)),
          cache(std::move(kv_cache)) {
        forget_graphs();
    }

    // After a failure: the allocator has given its memory back already, and the graphs it served
    // point into it.
    void forget_graphs() {
        graphs.clear();
        allocator.reset(ggml_gallocr_new(device::compute_buffer_type(compute.device())));
        allocated_bytes = 0;
    }

    [[nodiscard]] GraphContext context() const {
        return {.architecture = &model->architecture,
                .slice = &slice,
                .weights = &weights,
                .cache = &cache,
                .reducer = reducer,
                .reduce_at = reduce_at,
                .attention = attention};
    }

    Result<void> reserve(std::uint32_t chunk_length, std::uint32_t slot_count);
    Result<Graph*> graph_for(const GraphShape& shape);
    Result<void> check_operations(const Graph& graph) const;
    Result<std::span<const float>> read_output(const Graph& graph);
    Result<void> run(const Graph& graph);
    Result<void> reduce(ggml_tensor* sum);
};

// Sets memory aside for the largest usual steps, and learns here whether the device can do them.
Result<void> Shard::State::reserve(std::uint32_t chunk_length, std::uint32_t slot_count) {
    const std::uint32_t kv_length = cache.context_length();
    const auto token_count = std::min(chunk_length, kv_length);
    const Segment prefill{.slot_first = 0,
                          .token_count = token_count,
                          .kv_length = kv_length,
                          .outputs = OutputRows::last};
    const Segment decode{.slot_first = 0, .slot_count = slot_count, .kv_length = kv_length};
    std::vector<GraphShape> shapes = {{.segments = {prefill}}, {.segments = {decode}}};
    if (slot_count > 1) {  // all decode but one, whose prompt fills the chunk
        Segment others = decode;
        others.slot_count = slot_count - 1;
        Segment last = prefill;
        last.slot_first = slot_count - 1;
        last.token_count = std::max(token_count, slot_count) - others.slot_count;
        shapes.push_back({.segments = {others, last}});
    }
    for (const GraphShape& shape : shapes) {
        const Graph graph = build_graph(context(), shape);
        EXO_TRY(check_operations(graph));
        if (!ggml_gallocr_reserve(allocator.get(), graph.nodes)) {
            return fail(ErrorCode::resource_exhausted,
                        "no room for the compute buffers on " + compute.device().facts.id + ".",
                        "Use a shorter context or smaller chunks.");
        }
    }
    allocated_bytes = ggml_gallocr_get_buffer_size(allocator.get(), 0);
    return {};
}

Result<void> Shard::State::check_operations(const Graph& graph) const {
    for (int i = 0; i < ggml_graph_n_nodes(graph.nodes); ++i) {
        const ggml_tensor* node = ggml_graph_node(graph.nodes, i);
        if (!ggml_backend_supports_op(compute.backend(), node)) {
            return fail(ErrorCode::unsupported,
                        compute.device().facts.id + " lacks the operation " + ggml_op_desc(node) +
                            " for '" + node->name + "'.",
                        "Use another device, for example --device cpu.");
        }
    }
    return {};
}

Result<Graph*> Shard::State::graph_for(const GraphShape& shape) {
    const auto found = std::ranges::find(graphs, shape, &Graph::shape);
    if (found != graphs.end()) {
        std::rotate(graphs.begin(), found, found + 1);
        return &graphs.front();
    }
    Graph graph = build_graph(context(), shape);
    if (!ggml_gallocr_alloc_graph(allocator.get(), graph.nodes)) {
        forget_graphs();
        return fail(ErrorCode::resource_exhausted,
                    "no room for the compute buffers on " + compute.device().facts.id + ".");
    }
    // A buffer that grew has moved, and the older graphs point into the old one.
    const std::size_t size_bytes = ggml_gallocr_get_buffer_size(allocator.get(), 0);
    if (size_bytes != std::exchange(allocated_bytes, size_bytes)) graphs.clear();
    if (graphs.size() == graph_count_max) graphs.pop_back();
    graphs.push_front(std::move(graph));
    return &graphs.front();
}

// Starts the step; where it is cut, all but its last part is over when this returns.
Result<void> Shard::State::run(const Graph& graph) {
    if (graph.parts.empty()) return compute.start(graph.nodes);
    for (std::size_t i = 0; i < graph.parts.size(); ++i) {
        EXO_TRY(compute.start(graph.parts[i]));
        if (i < graph.sums.size()) EXO_TRY(reduce(graph.sums[i]));
    }
    return {};
}

// Puts the sum over all ranks in the place of this rank's part.
Result<void> Shard::State::reduce(ggml_tensor* sum) {
    const std::size_t size_bytes = ggml_nbytes(sum);
    if (sums.bytes().size() < size_bytes) {
        EXO_TRY_ASSIGN(sums, device::HostMemory::allocate(compute.device(), size_bytes));
    }
    std::byte* values = sums.bytes().data();
    ggml_backend_tensor_get_async(compute.backend(), sum, values, 0, size_bytes);
    compute.synchronize();
    reducer->reduce(reinterpret_cast<float*>(values), sum->ne[0], sum->ne[1]);
    // The device reads this memory before the next sum is read into it: copies keep their order.
    ggml_backend_tensor_set_async(compute.backend(), sum, values, 0, size_bytes);
    return {};
}

// Waits for the step and gives its output, in place where the host can read it.
Result<std::span<const float>> Shard::State::read_output(const Graph& graph) {
    if (graph.output == nullptr) {
        compute.synchronize();
        return std::span<const float>();
    }
    const auto count = static_cast<std::size_t>(ggml_nelements(graph.output));
    const std::size_t size_bytes = count * sizeof(float);
    if (ggml_backend_buffer_is_host(graph.output->buffer)) {
        compute.synchronize();
        return std::span(static_cast<const float*>(graph.output->data), count);
    }
    if (outputs.bytes().size() < size_bytes) {
        EXO_TRY_ASSIGN(outputs, device::HostMemory::allocate(compute.device(), size_bytes));
    }
    std::byte* target = outputs.bytes().data();
    ggml_backend_tensor_get_async(compute.backend(), graph.output, target, 0, size_bytes);
    compute.synchronize();
    return std::span(reinterpret_cast<const float*>(target), count);
}

Shard::Shard(std::unique_ptr<State> state) : state_(std::move(state)) {}
Shard::~Shard() = default;

Result<std::unique_ptr<Shard>> Shard::create(const ModelFile& model, const ShardSlice& slice,
                                             const ShardOptions& options) try {
    if (options.context_length > context_length_max) {
        return fail(ErrorCode::invalid_argument,
                    "a context of " + std::to_string(options.context_length) +
                        " tokens was asked for; at most " + std::to_string(context_length_max) +
                        " are supported.");
    }
    EXO_TRY_ASSIGN(device::Compute compute,
                   device::Compute::create(options.device, {.thread_count = options.thread_count}));
    const auto fuses = [&](model::TensorType type) {
        return copies_matrices(options.device, options.weight_layout, type);
    };
    EXO_TRY_ASSIGN(const WeightPlan plan,
                   plan_weights(model.gguf, model.architecture, slice, fuses));
    EXO_TRY_ASSIGN(Weights weights, Weights::load(plan, model.file,
                                                  {.device = options.device,
                                                   .layout = options.weight_layout,
                                                   .on_progress = options.on_progress}));
    EXO_TRY_ASSIGN(
        KvCache cache,
        KvCache::create(model.architecture, slice,
                        {.device = options.device,
                         .type = options.cache_type,
                         .slot_count = options.slot_count,
                         .context_length = round_up(options.context_length, kv_length_step)}));
    auto state = std::make_unique<State>(model, slice, options.attention, std::move(compute),
                                         std::move(weights), std::move(cache));
    state->reducer = options.reducer;
    const bool is_cpu = options.device.facts.kind == device::DeviceKind::cpu;
    state->reduce_at = options.reduce_at.value_or(is_cpu ? ReduceAt::node : ReduceAt::cut);
    EXO_TRY(state->reserve(options.chunk_length, options.slot_count));
    return std::unique_ptr<Shard>(new Shard(std::move(state)));
} catch (const std::exception& exception) {
    return device_threw(options.device, exception);
}

Result<void> Shard::start(std::span<const SlotTokens> batch) {
    platform::trace_next_step();
    const platform::TraceScope trace(platform::SpanKind::step, token_count(batch));
    EXO_TRY_ASSIGN(state_->output, compute_states(batch, {}));
    return {};
}

Result<std::span<const float>> Shard::finish() {
    return state_->output;
}

Result<std::span<const float>> Shard::compute_states(std::span<const SlotTokens> batch,
                                                     std::span<const float> states) try {
    State& state = *state_;
    platform::TraceScope trace(platform::SpanKind::inputs);
    const GraphShape shape =
        shape_of_batch(batch, state.model->architecture, state.cache.context_length());
    EXO_TRY_ASSIGN(Graph * graph, state.graph_for(shape));
    EXO_TRY(state.inputs.fill(*graph, batch, states, state.model->architecture.sliding_window,
                              state.cache.context_length(), state.compute));
    trace.next(platform::SpanKind::compute);
    EXO_TRY(state.run(*graph));
    return state.read_output(*graph);
} catch (const std::exception& exception) {
    state_->forget_graphs();
    return device_threw(state_->compute.device(), exception);
}

Result<void> Shard::copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                              std::uint32_t length) try {
    state_->cache.copy(from_slot, to_slot, length);
    return {};
} catch (const std::exception& exception) {
    return device_threw(state_->compute.device(), exception);
}

std::uint32_t Shard::output_length() const {
    return state_->slice.heads ? state_->slice.vocabulary.count
                               : state_->model->architecture.embedding_length;
}
std::uint32_t Shard::context_length() const {
    return state_->cache.context_length();
}
std::uint64_t Shard::weight_bytes() const {
    return state_->weights.size_bytes();
}
std::uint64_t Shard::cache_bytes() const {
    return state_->cache.size_bytes();
}
std::uint64_t Shard::compute_bytes() const {
    return state_->allocated_bytes;
}

}  // namespace exomesh::engine
