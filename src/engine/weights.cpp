#include "engine/weights.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "base/assert.h"
#include "device/compute.h"

namespace exomesh::engine {

namespace {

ggml_type ggml_type_of(model::TensorType type) {
    return static_cast<ggml_type>(type);
}

ggml_context_ptr make_context(std::size_t tensor_count) {
    return ggml_context_ptr(ggml_init({.mem_size = tensor_count * ggml_tensor_overhead() + 1024,
                                       .mem_buffer = nullptr,
                                       .no_alloc = true}));
}

device::WeightUse device_use(WeightUse use) {
    switch (use) {
        case WeightUse::matrix_multiply:
            return device::WeightUse::matrix;
        case WeightUse::expert_matrix_multiply:
            return device::WeightUse::expert_matrices;
        case WeightUse::look_up:
            return device::WeightUse::rows;
        case WeightUse::vector:
            return device::WeightUse::vector;
    }
    std::unreachable();
}

// ggml's shape of the weight.
using Shape = std::array<std::int64_t, 4>;

Shape shape_of(const WeightSpec& spec) {
    const auto rows = static_cast<std::int64_t>(spec.row_count);
    if (spec.use == WeightUse::vector) return {rows, 1, 1, 1};
    return {static_cast<std::int64_t>(spec.column_count), rows,
            static_cast<std::int64_t>(spec.matrix_count), 1};
}

ggml_tensor* make_tensor(ggml_context* context, const WeightSpec& spec) {
    const Shape shape = shape_of(spec);
    const int dimension_count = spec.use == WeightUse::vector ? 1 : spec.matrix_count > 1 ? 3 : 2;
    ggml_tensor* tensor =
        ggml_new_tensor(context, ggml_type_of(spec.type), dimension_count, shape.data());
    ggml_set_name(tensor, spec.name.c_str());
    return tensor;
}

}  // namespace

class WeightLoader {
  public:
    WeightLoader(const WeightPlan& plan, const platform::MappedFile& file,
                 const WeightsOptions& options)
        : plan_(plan), file_(file), options_(options), tensors_(plan.weights.size()) {}

    Result<Weights> run() {
        EXO_TRY(choose_places());
        EXO_TRY(map_file());
        EXO_TRY(allocate());
        fill();
        name_tensors();
        return std::move(weights_);
    }

  private:
    // A weight's place: a buffer type, or nullptr for "stays in the file".
    using Place = ggml_backend_buffer_type_t;
    static constexpr Place in_file = nullptr;

    [[nodiscard]] bool stays_in_file(const WeightSpec& spec, Place place) const {
        return options_.device.facts.buffer_from_host_pointer &&
               place == device::compute_buffer_type(options_.device) && spec.is_whole_tensor() &&
               spec.parts.front().source->offset_bytes % ggml_backend_buft_get_alignment(place) ==
                   0;
    }

    Result<void> choose_places() {
        std::map<std::tuple<WeightUse, model::TensorType, Shape>, Place> known;
        for (const WeightSpec& spec : plan_.weights) {
            const Shape shape = shape_of(spec);
            const auto [entry, is_new] = known.try_emplace({spec.use, spec.type, shape}, in_file);
            if (is_new) {
                const std::int64_t sizes[4] = {shape[0], shape[1], shape[2], shape[3]};
                entry->second = device::weight_buffer_type(options_.device, device_use(spec.use),
                                                           ggml_type_of(spec.type), sizes);
            }
            const Place place = entry->second;
            if (place == nullptr) {
                return fail(ErrorCode::unsupported,
                            options_.device.facts.id + " cannot compute with '" + spec.name +
                                "' (" + ggml_type_name(ggml_type_of(spec.type)) + ").",
                            "Use another device, for example --device cpu.");
            }
            places_.push_back(stays_in_file(spec, place) ? in_file : place);
        }
        return {};
    }

    // The tensors that stay in the file share one buffer around their part of it.
    Result<void> map_file() {
        std::uint64_t first = UINT64_MAX;
        std::uint64_t end = 0;
        std::size_t count = 0;
        std::size_t largest = 0;
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i] != in_file) continue;
            const model::TensorInfo& source = *plan_.weights[i].parts.front().source;
            first = std::min(first, source.offset_bytes);
            end = std::max(end, source.offset_bytes + source.size_bytes);
            largest = std::max<std::size_t>(largest, source.size_bytes);
            ++count;
        }
        if (count == 0) return {};
        // Buffers want aligned starts; the mapping itself starts on a page, and so does this.
        first = first / 4096 * 4096;
        auto* base = const_cast<std::byte*>(file_.bytes().data());
        EXO_TRY_ASSIGN(
            ggml_backend_buffer_ptr buffer,
            device::buffer_from_host_pointer(options_.device, base + first, end - first, largest));
        ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        ggml_context_ptr context = make_context(count);
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i] != in_file) continue;
            const model::TensorInfo& source = *plan_.weights[i].parts.front().source;
            tensors_[i] = make_tensor(context.get(), plan_.weights[i]);
            const ggml_status status =
                ggml_backend_tensor_alloc(buffer.get(), tensors_[i], base + source.offset_bytes);
            EXO_ASSERT(status == GGML_STATUS_SUCCESS);
            weights_.mapped_bytes_ += source.size_bytes;
            weights_.size_bytes_ += source.size_bytes;
        }
        weights_.contexts_.push_back(std::move(context));
        weights_.buffers_.push_back(std::move(buffer));
        return {};
    }

    Result<void> allocate() {
        for (const Place place : std::set<Place>(places_.begin(), places_.end())) {
            if (place == in_file) continue;
            const auto count = static_cast<std::size_t>(std::ranges::count(places_, place));
            ggml_context_ptr context = make_context(count);
            std::uint64_t wanted_bytes = 0;
            for (std::size_t i = 0; i < places_.size(); ++i) {
                if (places_[i] != place) continue;
                tensors_[i] = make_tensor(context.get(), plan_.weights[i]);
                wanted_bytes += ggml_nbytes(tensors_[i]);
            }
            ggml_backend_buffer_ptr buffer(
                ggml_backend_alloc_ctx_tensors_from_buft(context.get(), place));
            if (!buffer) {
                return fail(ErrorCode::resource_exhausted,
                            "no room for " + std::to_string(wanted_bytes >> 20) +
                                " MiB of weights on " + options_.device.facts.id + ".",
                            "Use a smaller model or another device.");
            }
            ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            weights_.size_bytes_ += wanted_bytes;
            weights_.contexts_.push_back(std::move(context));
            weights_.buffers_.push_back(std::move(buffer));
        }
        return {};
    }

    void fill() {
        std::vector<std::byte> staging;
        std::uint64_t done_bytes = weights_.mapped_bytes_;
        const auto total_bytes =
            static_cast<double>(std::max<std::uint64_t>(weights_.size_bytes_, 1));
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i] == in_file) continue;
            const WeightSpec& spec = plan_.weights[i];
            ggml_tensor* tensor = tensors_[i];
            const std::size_t size_bytes = ggml_nbytes(tensor);
            if (spec.is_whole_tensor()) {
                const std::uint64_t offset = spec.parts.front().source->offset_bytes;
                ggml_backend_tensor_set(tensor, file_.bytes().data() + offset, 0, size_bytes);
            } else {
                staging.resize(size_bytes);
                copy_weight(spec, file_.bytes(), staging);
                ggml_backend_tensor_set(tensor, staging.data(), 0, size_bytes);
            }
            for (const WeightPart& part : spec.parts) {
                if (!is_mapped_elsewhere(part.source)) {
                    file_.drop(part.source->offset_bytes, part.source->size_bytes);
                }
            }
            done_bytes += size_bytes;
            if (options_.on_progress) {
                options_.on_progress(static_cast<double>(done_bytes) / total_bytes);
            }
        }
        if (options_.on_progress) options_.on_progress(1.0);
    }

    // A tied embedding is copied for the LM head and used in place for look-ups.
    [[nodiscard]] bool is_mapped_elsewhere(const model::TensorInfo* source) const {
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i] == in_file && plan_.weights[i].parts.front().source == source)
                return true;
        }
        return false;
    }

    [[nodiscard]] ggml_tensor* at(LayerPlan::Index index) const {
        return index ? tensors_[*index] : nullptr;
    }

    void name_tensors() {
        weights_.token_embedding = at(plan_.token_embedding);
        weights_.output_norm = at(plan_.output_norm);
        weights_.output = at(plan_.output);
        weights_.rope_factors = at(plan_.rope_factors);
        weights_.rope_factors_long = at(plan_.rope_factors_long);
        weights_.rope_factors_short = at(plan_.rope_factors_short);
        for (const LayerPlan& layer : plan_.layers) {
            weights_.layers.push_back({
                .attention_norm = at(layer.attention_norm),
                .attention_post_norm = at(layer.attention_post_norm),
                .feed_forward_norm = at(layer.feed_forward_norm),
                .feed_forward_post_norm = at(layer.feed_forward_post_norm),
                .query_key_value = at(layer.query_key_value),
                .query_key_value_bias = at(layer.query_key_value_bias),
                .query = at(layer.query),
                .key = at(layer.key),
                .value = at(layer.value),
                .query_bias = at(layer.query_bias),
                .key_bias = at(layer.key_bias),
                .value_bias = at(layer.value_bias),
                .query_norm = at(layer.query_norm),
                .key_norm = at(layer.key_norm),
                .attention_output = at(layer.attention_output),
                .attention_output_bias = at(layer.attention_output_bias),
                .gate_up = at(layer.gate_up),
                .gate = at(layer.gate),
                .up = at(layer.up),
                .down = at(layer.down),
                .router = at(layer.router),
                .expert_gate = at(layer.expert_gate),
                .expert_up = at(layer.expert_up),
                .expert_down = at(layer.expert_down),
            });
        }
    }

    const WeightPlan& plan_;
    const platform::MappedFile& file_;
    const WeightsOptions& options_;
    std::vector<Place> places_;          // per weight
    std::vector<ggml_tensor*> tensors_;  // per weight
    Weights weights_;
};

Result<Weights> Weights::load(const WeightPlan& plan, const platform::MappedFile& file,
                              const WeightsOptions& options) {
    return WeightLoader(plan, file, options).run();
}

}  // namespace exomesh::engine
