#include "engine/shard.h"

#include <algorithm>
#include <array>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "device/backend_log.h"
#include "device/compute.h"
#include "engine/lane.h"
#include "engine/micro_batch.h"
#include "platform/trace.h"

namespace exomesh::engine {

namespace {

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

// One half of a batch and how far it has come.
struct Turn {
    Lane& lane;
    const Graph& graph;
};

// Two halves of a batch, part by part in turns: while the sum of one travels, the other computes.
// A part of the second half follows the same part of the first, whose keys and values it sees.
Result<void> run_in_turns(const std::array<Turn, 2>& halves, device::Compute& compute,
                          Reducer& reducer) {
    const Turn* sending = nullptr;  // whose sum is on its way
    ggml_tensor* sum = nullptr;
    const auto finish_sum = [&] {
        if (sending == nullptr) return;
        reducer.finish();
        std::exchange(sending, nullptr)->lane.put_sum(sum);
    };
    const std::size_t part_count =
        std::max(halves[0].graph.parts.size(), halves[1].graph.parts.size());
    for (std::size_t i = 0; i < part_count; ++i) {
        for (const Turn& half : halves) {
            if (i >= half.graph.parts.size()) continue;
            if (sending == &half) finish_sum();  // the other half is over
            const auto started = compute.start(half.graph.parts[i]);
            finish_sum();
            EXO_TRY(started);
            if (i >= half.graph.sums.size()) continue;
            sum = half.graph.sums[i];
            EXO_TRY(half.lane.take_sum(sum, reducer));
            sending = &half;
        }
    }
    finish_sum();
    return {};
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
    std::uint32_t overlap_tokens_min = 0;
    device::Compute compute;
    Weights weights;
    KvCache cache;
    Lane lane;
    Lane second_lane;             // of the second half of a batch whose sums overlap
    std::vector<float> joined;    // the outputs of both halves
    std::vector<OutputRow> rows;  // of the step that was started last

    State(const ModelFile& file, const ShardSlice& shard_slice, AttentionKind kind,
          device::Compute device_compute, Weights shard_weights, KvCache kv_cache)
        : model(&file),
          slice(shard_slice),
          attention(kind),
          compute(std::move(device_compute)),
          weights(std::move(shard_weights)),
          cache(std::move(kv_cache)),
          lane(compute),
          second_lane(compute) {}

    [[nodiscard]] GraphContext context(ReduceAt where) const {
        return {.architecture = &model->architecture,
                .slice = &slice,
                .weights = &weights,
                .cache = &cache,
                .reducer = reducer,
                .reduce_at = where,
                .attention = attention};
    }

    [[nodiscard]] bool overlaps(std::span<const SlotTokens> batch) const {
        return reducer != nullptr && overlap_tokens_min != 0 &&
               token_count(batch) >= overlap_tokens_min;
    }
    Result<void> reserve(std::uint32_t chunk_length, std::uint32_t slot_count);
    Result<std::span<const float>> compute_whole(std::span<const SlotTokens> batch,
                                                 std::span<const float> states);
    Result<std::span<const float>> compute_overlapped(std::span<const SlotTokens> batch,
                                                      std::span<const float> states);
    Result<void> run(const Graph& graph);
    Result<std::span<const float>> join(std::span<const float> first,
                                        std::span<const float> second);
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
    for (const GraphShape& shape : shapes) EXO_TRY(lane.reserve(context(reduce_at), shape));
    if (reducer == nullptr || overlap_tokens_min == 0 || token_count < overlap_tokens_min)
        return {};
    Segment half = prefill;
    half.token_count = token_count - token_count / 2 / micro_batch_step * micro_batch_step;
    return second_lane.reserve(context(ReduceAt::cut), {.segments = {half}});
}

// Starts the step; where it is cut, all but its last part is over when this returns.
Result<void> Shard::State::run(const Graph& graph) {
    if (graph.parts.empty()) return compute.start(graph.nodes);
    for (std::size_t i = 0; i < graph.parts.size(); ++i) {
        EXO_TRY(compute.start(graph.parts[i]));
        if (i >= graph.sums.size()) continue;
        EXO_TRY(lane.take_sum(graph.sums[i], *reducer));
        reducer->finish();
        lane.put_sum(graph.sums[i]);
    }
    return {};
}

Result<std::span<const float>> Shard::State::compute_whole(std::span<const SlotTokens> batch,
                                                           std::span<const float> states) {
    platform::TraceScope trace(platform::SpanKind::inputs);
    EXO_TRY_ASSIGN(const Graph* graph, lane.prepare(context(reduce_at), batch, states));
    trace.next(platform::SpanKind::compute);
    EXO_TRY(run(*graph));
    return lane.read_output(*graph);
}

Result<std::span<const float>> Shard::State::compute_overlapped(std::span<const SlotTokens> batch,
                                                                std::span<const float> states) {
    platform::TraceScope trace(platform::SpanKind::inputs);
    const MicroBatches halves = split_batch(batch);
    const std::size_t first_states =
        states.empty() ? 0 : token_count(halves.first) * model->architecture.embedding_length;
    const GraphContext cut = context(ReduceAt::cut);
    EXO_TRY_ASSIGN(const Graph* first, lane.prepare(cut, halves.first, states.first(first_states)));
    EXO_TRY_ASSIGN(const Graph* second,
                   second_lane.prepare(cut, halves.second, states.subspan(first_states)));
    trace.next(platform::SpanKind::compute);
    EXO_TRY(run_in_turns({{{lane, *first}, {second_lane, *second}}}, compute, *reducer));
    EXO_TRY_ASSIGN(const auto first_output, lane.read_output(*first));
    EXO_TRY_ASSIGN(const auto second_output, second_lane.read_output(*second));
    return join(first_output, second_output);
}

Result<std::span<const float>> Shard::State::join(std::span<const float> first,
                                                  std::span<const float> second) {
    if (first.empty()) return second;
    if (second.empty()) return first;
    joined.assign(first.begin(), first.end());
    joined.insert(joined.end(), second.begin(), second.end());
    return std::span<const float>(joined);
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
    state->overlap_tokens_min = options.overlap_tokens_min == 0
                                    ? 0
                                    : std::max(options.overlap_tokens_min, micro_batch_tokens_min);
    EXO_TRY(state->reserve(options.chunk_length, options.slot_count));
    return std::unique_ptr<Shard>(new Shard(std::move(state)));
} catch (const std::exception& exception) {
    return device_threw(options.device, exception);
}

Result<void> Shard::start(std::span<const SlotTokens> batch) {
    platform::trace_next_step();
    const platform::TraceScope trace(platform::SpanKind::step, token_count(batch));
    EXO_TRY_ASSIGN(const std::span<const float> output, compute_states(batch, {}));
    const std::size_t length = output_length();
    state_->rows.clear();
    for (std::size_t i = 0; i < output.size(); i += length) {
        state_->rows.push_back({.logits = output.subspan(i, length)});
    }
    return {};
}

Result<std::span<const OutputRow>> Shard::finish() {
    return state_->rows;
}

Result<std::span<const float>> Shard::compute_states(std::span<const SlotTokens> batch,
                                                     std::span<const float> states) try {
    return state_->overlaps(batch) ? state_->compute_overlapped(batch, states)
                                   : state_->compute_whole(batch, states);
} catch (const std::exception& exception) {
    state_->lane.forget_graphs();
    state_->second_lane.forget_graphs();
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
    return state_->lane.allocated_bytes() + state_->second_lane.allocated_bytes();
}

}  // namespace exomesh::engine
