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
#include "engine/affine_split.h"
#include "platform/anonymous_memory.h"
#include "platform/system_memory.h"

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

ggml_tensor* make_tensor(ggml_context* context, const WeightSpec& spec, ggml_type type) {
    const Shape shape = shape_of(spec);
    const int dimension_count = spec.use == WeightUse::vector ? 1 : spec.matrix_count > 1 ? 3 : 2;
    ggml_tensor* tensor = ggml_new_tensor(context, type, dimension_count, shape.data());
    ggml_set_name(tensor, spec.name.c_str());
    return tensor;
}

// One of the CPU's repacked layouts, or nullptr.
ggml_backend_buffer_type_t repacked_type(const device::Device& device, ggml_type type,
                                         const Shape& shape) {
    const std::int64_t sizes[4] = {shape[0], shape[1], shape[2], shape[3]};
    const auto place = device::weight_buffer_type(device, device::WeightUse::matrix, type, sizes);
    const bool is_repacked = device.facts.kind == device::DeviceKind::cpu &&
                             place != device::compute_buffer_type(device);
    return is_repacked ? place : nullptr;
}

bool can_split(const WeightSpec& spec) {
    return spec.type == model::TensorType::q4_1 && spec.use == WeightUse::matrix_multiply &&
           spec.row_count % offset_tile_rows == 0 && spec.column_count <= split_columns_max;
}

}  // namespace

bool copies_matrices(const device::Device& device, WeightLayout layout, model::TensorType type) {
    if (!device.facts.buffer_from_host_pointer) return true;
    constexpr Shape usual = {4096, 4096, 1, 1};
    const bool may_split = type == model::TensorType::q4_1 && layout == WeightLayout::fast;
    return repacked_type(device, ggml_type_of(type), usual) != nullptr ||
           (may_split && repacked_type(device, GGML_TYPE_Q4_0, usual) != nullptr);
}

class WeightLoader {
  public:
    WeightLoader(const WeightPlan& plan, const platform::MappedFile& file,
                 const WeightsOptions& options)
        : plan_(plan), file_(file), options_(options), matrices_(plan.weights.size()) {}

    Result<Weights> run() {
        EXO_TRY(choose_places());
        EXO_TRY(map_file());
        EXO_TRY(allocate());
        EXO_TRY(allocate_offsets());
        fill();
        name_tensors();
        return std::move(weights_);
    }

  private:
    // Where a weight lies: a buffer type, or nullptr for "stays in the file".
    using BufferType = ggml_backend_buffer_type_t;
    static constexpr BufferType in_file = nullptr;

    struct Place {
        BufferType buffer_type = in_file;
        bool is_split = false;  // lies there as Q4_0, and its offsets beside it
    };

    [[nodiscard]] bool stays_in_file(const WeightSpec& spec, BufferType type) const {
        return options_.device.facts.buffer_from_host_pointer &&
               type == device::compute_buffer_type(options_.device) && spec.is_whole_tensor() &&
               spec.parts.front().source->offset_bytes % ggml_backend_buft_get_alignment(type) == 0;
    }

    [[nodiscard]] Place find_place(const WeightSpec& spec) const {
        const Shape shape = shape_of(spec);
        // Some CPUs have a layout for Q4_1 itself (AMX); then that is better.
        if (options_.layout == WeightLayout::fast && can_split(spec) &&
            repacked_type(options_.device, GGML_TYPE_Q4_1, shape) == nullptr) {
            const BufferType type = repacked_type(options_.device, GGML_TYPE_Q4_0, shape);
            if (type != nullptr) return {.buffer_type = type, .is_split = true};
        }
        const std::int64_t sizes[4] = {shape[0], shape[1], shape[2], shape[3]};
        return {.buffer_type = device::weight_buffer_type(options_.device, device_use(spec.use),
                                                          ggml_type_of(spec.type), sizes)};
    }

    Result<void> choose_places() {
        std::map<std::tuple<WeightUse, model::TensorType, Shape>, Place> known;
        for (const WeightSpec& spec : plan_.weights) {
            const auto [entry, is_new] = known.try_emplace({spec.use, spec.type, shape_of(spec)});
            if (is_new) entry->second = find_place(spec);
            Place place = entry->second;
            if (place.buffer_type == nullptr) {
                return fail(ErrorCode::unsupported,
                            options_.device.facts.id + " cannot compute with '" + spec.name +
                                "' (" + ggml_type_name(ggml_type_of(spec.type)) + ").",
                            "Use another device, for example --device cpu.");
            }
            if (stays_in_file(spec, place.buffer_type)) place.buffer_type = in_file;
            places_.push_back(place);
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
            if (places_[i].buffer_type != in_file) continue;
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
            if (places_[i].buffer_type != in_file) continue;
            const WeightSpec& spec = plan_.weights[i];
            const model::TensorInfo& source = *spec.parts.front().source;
            ggml_tensor* tensor = make_tensor(context.get(), spec, ggml_type_of(spec.type));
            const ggml_status status =
                ggml_backend_tensor_alloc(buffer.get(), tensor, base + source.offset_bytes);
            EXO_ASSERT(status == GGML_STATUS_SUCCESS);
            matrices_[i].weight = tensor;
            mapped_bytes_ += source.size_bytes;
            weights_.size_bytes_ += source.size_bytes;
        }
        weights_.contexts_.push_back(std::move(context));
        weights_.buffers_.push_back(std::move(buffer));
        return {};
    }

    Result<void> allocate() {
        std::set<BufferType> types;
        for (const Place& place : places_) types.insert(place.buffer_type);
        types.erase(in_file);
        for (const BufferType type : types) {
            ggml_context_ptr context = make_context(places_.size());
            for (std::size_t i = 0; i < places_.size(); ++i) {
                if (places_[i].buffer_type != type) continue;
                const WeightSpec& spec = plan_.weights[i];
                matrices_[i].weight =
                    make_tensor(context.get(), spec,
                                places_[i].is_split ? GGML_TYPE_Q4_0 : ggml_type_of(spec.type));
            }
            EXO_TRY(allocate_buffer(std::move(context), type));
        }
        return {};
    }

    Result<void> allocate_offsets() {
        ggml_context_ptr context = make_context(places_.size());
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (!places_[i].is_split) continue;
            const WeightSpec& spec = plan_.weights[i];
            matrices_[i].offsets =
                ggml_new_tensor_3d(context.get(), GGML_TYPE_F16, offset_tile_rows,
                                   static_cast<std::int64_t>(spec.column_count / 32),
                                   static_cast<std::int64_t>(spec.row_count / offset_tile_rows));
        }
        if (ggml_get_first_tensor(context.get()) == nullptr) return {};
        return allocate_buffer(std::move(context), device::compute_buffer_type(options_.device));
    }

    // One buffer for all tensors of the context.
    Result<void> allocate_buffer(ggml_context_ptr context, BufferType type) {
        std::uint64_t wanted_bytes = 0;
        for (ggml_tensor* tensor = ggml_get_first_tensor(context.get()); tensor != nullptr;
             tensor = ggml_get_next_tensor(context.get(), tensor)) {
            wanted_bytes += ggml_nbytes(tensor);
        }
        // The CPU's memory is taken as it is written, and who takes too much is killed.
        const bool is_cpu = options_.device.facts.kind == device::DeviceKind::cpu;
        const Result<> room = is_cpu ? platform::check_memory(wanted_bytes) : Result<>();
        ggml_backend_buffer_ptr buffer;
        if (room) buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(context.get(), type));
        if (!buffer) {
            return fail(ErrorCode::resource_exhausted,
                        "no room for " + std::to_string(wanted_bytes >> 20) +
                            " MiB of weights on " + options_.device.facts.id +
                            (room ? "." : ": " + room.error().message),
                        "Use a smaller model or another device.");
        }
        ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        if (is_cpu) {
            platform::prefer_huge_pages(
                {static_cast<std::byte*>(ggml_backend_buffer_get_base(buffer.get())),
                 ggml_backend_buffer_get_size(buffer.get())});
        }
        weights_.size_bytes_ += wanted_bytes;
        weights_.contexts_.push_back(std::move(context));
        weights_.buffers_.push_back(std::move(buffer));
        return {};
    }

    void fill() {
        std::uint64_t done_bytes = mapped_bytes_;
        const auto total_bytes =
            static_cast<double>(std::max<std::uint64_t>(weights_.size_bytes_, 1));
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i].buffer_type == in_file) continue;
            const WeightSpec& spec = plan_.weights[i];
            const std::span<const std::byte> source = bytes_of(spec);
            if (places_[i].is_split) {
                fill_split(spec, source, matrices_[i]);
            } else {
                ggml_backend_tensor_set(matrices_[i].weight, source.data(), 0, source.size());
            }
            for (const WeightPart& part : spec.parts) {
                if (!is_mapped_elsewhere(part.source)) {
                    file_.drop(part.source->offset_bytes, part.source->size_bytes);
                }
            }
            done_bytes += source.size();
            if (options_.on_progress) {
                options_.on_progress(std::min(1.0, static_cast<double>(done_bytes) / total_bytes));
            }
        }
        if (options_.on_progress) options_.on_progress(1.0);
    }

    // The weight as it is in the file, put together where it is not there in one piece. Valid until
    // the next call.
    std::span<const std::byte> bytes_of(const WeightSpec& spec) {
        const ggml_type type = ggml_type_of(spec.type);
        const std::size_t size_bytes =
            ggml_row_size(type, static_cast<std::int64_t>(spec.column_count)) * spec.row_count *
            spec.matrix_count;
        if (spec.is_whole_tensor()) {
            return file_.bytes().subspan(spec.parts.front().source->offset_bytes, size_bytes);
        }
        staging_.resize(size_bytes);
        copy_weight(spec, file_.bytes(), staging_);
        return staging_;
    }

    void fill_split(const WeightSpec& spec, std::span<const std::byte> source,
                    const Matrix& matrix) {
        split_staging_.resize(ggml_nbytes(matrix.weight));
        split_q4_1(source, spec.column_count, spec.row_count, split_staging_,
                   std::span(static_cast<std::uint16_t*>(matrix.offsets->data),
                             static_cast<std::size_t>(ggml_nelements(matrix.offsets))));
        ggml_backend_tensor_set(matrix.weight, split_staging_.data(), 0, split_staging_.size());
    }

    // A tied embedding is copied for the LM head and used in place for look-ups.
    [[nodiscard]] bool is_mapped_elsewhere(const model::TensorInfo* source) const {
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (places_[i].buffer_type == in_file &&
                plan_.weights[i].parts.front().source == source)
                return true;
        }
        return false;
    }

    [[nodiscard]] Matrix matrix(LayerPlan::Index index) const {
        return index ? matrices_[*index] : Matrix{};
    }
    [[nodiscard]] ggml_tensor* at(LayerPlan::Index index) const { return matrix(index).weight; }

    void name_tensors() {
        weights_.token_embedding = at(plan_.token_embedding);
        weights_.output_norm = at(plan_.output_norm);
        weights_.output = matrix(plan_.output);
        weights_.rope_factors = at(plan_.rope_factors);
        weights_.rope_factors_long = at(plan_.rope_factors_long);
        weights_.rope_factors_short = at(plan_.rope_factors_short);
        for (const LayerPlan& layer : plan_.layers) {
            weights_.layers.push_back({
                .attention_norm = at(layer.attention_norm),
                .attention_post_norm = at(layer.attention_post_norm),
                .feed_forward_norm = at(layer.feed_forward_norm),
                .feed_forward_post_norm = at(layer.feed_forward_post_norm),
                .query_key_value = matrix(layer.query_key_value),
                .query_key_value_bias = at(layer.query_key_value_bias),
                .query = matrix(layer.query),
                .key = matrix(layer.key),
                .value = matrix(layer.value),
                .query_bias = at(layer.query_bias),
                .key_bias = at(layer.key_bias),
                .value_bias = at(layer.value_bias),
                .query_norm = at(layer.query_norm),
                .key_norm = at(layer.key_norm),
                .attention_output = matrix(layer.attention_output),
                .attention_output_bias = at(layer.attention_output_bias),
                .gate_up = matrix(layer.gate_up),
                .gate = matrix(layer.gate),
                .up = matrix(layer.up),
                .down = matrix(layer.down),
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
    std::vector<Place> places_;     // per weight
    std::vector<Matrix> matrices_;  // per weight
    std::vector<std::byte> staging_, split_staging_;
    std::uint64_t mapped_bytes_ = 0;  // of those that stay in the file
    Weights weights_;
};

Result<Weights> Weights::load(const WeightPlan& plan, const platform::MappedFile& file,
                              const WeightsOptions& options) {
    return WeightLoader(plan, file, options).run();
}

}  // namespace exomesh::engine
