#include "device/compute.h"

#include <ggml.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "device/backend_log.h"
#include "device/cpu_topology.h"

namespace exomesh::device {
namespace {

// A backend's function by name: backends are loaded at run time, so nothing of theirs can be
// linked.
template <typename Function>
Function backend_function(const Device& device, const char* name) {
    auto* backend = ggml_backend_dev_backend_reg(device.handle);
    return reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(backend, name));
}

Error device_failed(const Device& device, const std::string& what) {
    return Error{ErrorCode::unavailable,
                 "device " + device.facts.id + " " + what + "." + backend_complaints(),
                 "Use --device cpu, or see `exomesh doctor`."};
}

// The operation in which the graph would use `weight`.
ggml_tensor* probe_operation(ggml_context* context, WeightUse use, ggml_tensor* weight) {
    constexpr std::int64_t token_count = 512;
    constexpr std::int64_t experts_used = 4;
    switch (use) {
        case WeightUse::matrix: {
            auto* input = ggml_new_tensor_2d(context, GGML_TYPE_F32, weight->ne[0], token_count);
            return ggml_mul_mat(context, weight, input);
        }
        case WeightUse::expert_matrices: {
            const auto used = std::min(experts_used, weight->ne[2]);
            auto* input =
                ggml_new_tensor_3d(context, GGML_TYPE_F32, weight->ne[0], used, token_count);
            auto* chosen = ggml_new_tensor_2d(context, GGML_TYPE_I32, used, token_count);
            return ggml_mul_mat_id(context, weight, input, chosen);
        }
        case WeightUse::rows: {
            auto* rows = ggml_new_tensor_1d(context, GGML_TYPE_I32, token_count);
            return ggml_get_rows(context, weight, rows);
        }
        case WeightUse::vector: {
            auto* input =
                ggml_new_tensor_4d(context, GGML_TYPE_F32, weight->ne[0],
                                   weight->ne[1] * token_count, weight->ne[2], weight->ne[3]);
            return ggml_mul(context, input, weight);
        }
    }
    EXO_ASSERT(false);
}

// ggml's AMX kernels add what the result held before to products over a single block of 32 inputs
// (seen with 0.27 and 32 or more tokens).
bool computes_wrongly(ggml_backend_buffer_type_t buffer_type, const ggml_tensor& weight) {
    return std::string_view(ggml_backend_buft_name(buffer_type)) == "AMX" && weight.ne[0] <= 32;
}

}  // namespace

Result<Compute> Compute::create(const Device& device, const ComputeOptions& options) {
    EXO_ASSERT(device.handle != nullptr);
    ggml_backend_ptr backend(ggml_backend_dev_init(device.handle, nullptr));
    if (!backend) return std::unexpected(device_failed(device, "cannot be opened"));
    if (device.facts.kind != DeviceKind::cpu) {
        return Compute(device, ThreadPool(), std::move(backend), 1);
    }
    const auto wanted = options.thread_count == 0 ? physical_core_count() : options.thread_count;
    const auto thread_count = std::min(wanted, thread_count_max);
    const auto set_thread_count =
        backend_function<ggml_backend_set_n_threads_t>(device, "ggml_backend_set_n_threads");
    using NewPool = ggml_threadpool* (*)(ggml_threadpool_params*);
    using SetPool = void (*)(ggml_backend_t, ggml_threadpool*);
    using FreePool = void (*)(ggml_threadpool*);
    const auto new_pool = backend_function<NewPool>(device, "ggml_threadpool_new");
    const auto free_pool = backend_function<FreePool>(device, "ggml_threadpool_free");
    const auto set_pool = backend_function<SetPool>(device, "ggml_backend_cpu_set_threadpool");
    if (set_thread_count == nullptr || new_pool == nullptr || free_pool == nullptr ||
        set_pool == nullptr) {
        return std::unexpected(device_failed(device, "is of a ggml too old for this program"));
    }
    set_thread_count(backend.get(), static_cast<int>(thread_count));
    auto parameters = ggml_threadpool_params_default(static_cast<int>(thread_count));
    ThreadPool pool(new_pool(&parameters), ThreadPoolDeleter{free_pool});
    if (!pool) return std::unexpected(device_failed(device, "cannot start its threads"));
    set_pool(backend.get(), pool.get());
    return Compute(device, std::move(pool), std::move(backend), thread_count);
}

Result<> Compute::compute(ggml_cgraph* graph) {
    Result<> started = start(graph);
    synchronize();
    return started;
}

void Compute::synchronize() {
    ggml_backend_synchronize(backend_.get());
}

Result<> Compute::start(ggml_cgraph* graph) {
    switch (ggml_backend_graph_compute_async(backend_.get(), graph)) {
        case GGML_STATUS_SUCCESS:
            return {};
        case GGML_STATUS_ABORTED:
            return fail(ErrorCode::cancelled, "the computation was stopped.");
        case GGML_STATUS_ALLOC_FAILED:
            return fail(ErrorCode::resource_exhausted,
                        "device " + device_.facts.id + " is out of memory.",
                        "Use a smaller context or fewer slots.");
        case GGML_STATUS_FAILED:
            break;
    }
    return std::unexpected(device_failed(device_, "failed while computing"));
}

Result<HostMemory> HostMemory::allocate(const Device& device, std::size_t size_bytes) {
    ggml_backend_buffer_ptr buffer(
        ggml_backend_buft_alloc_buffer(host_buffer_type(device), size_bytes));
    if (!buffer) {
        return fail(ErrorCode::resource_exhausted,
                    "no memory that " + device.facts.id + " can read directly is left.",
                    "Use a shorter context or fewer slots, or end other programs.");
    }
    auto* data = static_cast<std::byte*>(ggml_backend_buffer_get_base(buffer.get()));
    return HostMemory(std::move(buffer), {data, size_bytes});
}

std::vector<ggml_backend_buffer_type_t> weight_buffer_types(const Device& device) {
    std::vector<ggml_backend_buffer_type_t> types;
    const auto extra_types = backend_function<ggml_backend_dev_get_extra_bufts_t>(
        device, "ggml_backend_dev_get_extra_bufts");
    if (extra_types != nullptr) {
        for (auto* type = extra_types(device.handle); type != nullptr && *type != nullptr; ++type) {
            types.push_back(*type);
        }
    }
    types.push_back(ggml_backend_dev_buffer_type(device.handle));
    return types;
}

ggml_backend_buffer_type_t weight_buffer_type(const Device& device, WeightUse use, ggml_type type,
                                              const std::int64_t (&shape)[4]) {
    const ggml_init_params parameters{ggml_tensor_overhead() * 8, nullptr, true};
    const ggml_context_ptr context(ggml_init(parameters));
    auto* weight = ggml_new_tensor_4d(context.get(), type, shape[0], shape[1], shape[2], shape[3]);
    const auto* operation = probe_operation(context.get(), use, weight);
    for (auto* buffer_type : weight_buffer_types(device)) {
        if (computes_wrongly(buffer_type, *weight)) continue;
        // Backends look at the weight's buffer, not only at its type; an empty one is enough.
        const ggml_backend_buffer_ptr buffer(ggml_backend_buft_alloc_buffer(buffer_type, 0));
        weight->buffer = buffer.get();
        const bool works = ggml_backend_dev_supports_op(device.handle, operation);
        weight->buffer = nullptr;
        if (works) return buffer_type;
    }
    return nullptr;
}

ggml_backend_buffer_type_t compute_buffer_type(const Device& device) {
    return ggml_backend_dev_buffer_type(device.handle);
}

ggml_backend_buffer_type_t host_buffer_type(const Device& device) {
    auto* pinned = ggml_backend_dev_host_buffer_type(device.handle);
    return pinned != nullptr ? pinned : ggml_backend_cpu_buffer_type();
}

Result<ggml_backend_buffer_ptr> buffer_from_host_pointer(const Device& device, void* data,
                                                         std::size_t size_bytes,
                                                         std::size_t tensor_bytes_max) {
    if (device.facts.buffer_from_host_pointer) {
        ggml_backend_buffer_ptr buffer(ggml_backend_dev_buffer_from_host_ptr(
            device.handle, data, size_bytes, tensor_bytes_max));
        if (buffer) return buffer;
    }
    return fail(ErrorCode::unsupported,
                "device " + device.facts.id + " cannot use the host's memory in place.");
}

}  // namespace exomesh::device
