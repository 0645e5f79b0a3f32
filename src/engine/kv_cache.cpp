#include "engine/kv_cache.h"

#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "device/compute.h"

namespace exomesh::engine {

namespace {

constexpr std::size_t tensor_alignment_bytes = 64;

std::size_t aligned_bytes(const ggml_tensor* tensor) {
    return (ggml_nbytes(tensor) + tensor_alignment_bytes - 1) / tensor_alignment_bytes *
           tensor_alignment_bytes;
}

}  // namespace

ggml_type ggml_type_of(CacheType type) {
    switch (type) {
        case CacheType::f16:
            return GGML_TYPE_F16;
        case CacheType::q8_0:
            return GGML_TYPE_Q8_0;
        case CacheType::f32:
            return GGML_TYPE_F32;
    }
    EXO_ASSERT(false && "a type of cache");
    return GGML_TYPE_F16;
}

Result<void> KvCache::allocate_lazily(const device::Device& device) {
    std::size_t total_bytes = 0;
    for (ggml_tensor* tensor = ggml_get_first_tensor(context_.get()); tensor != nullptr;
         tensor = ggml_get_next_tensor(context_.get(), tensor)) {
        total_bytes += aligned_bytes(tensor);
    }
    EXO_TRY_ASSIGN(memory_, platform::AnonymousMemory::reserve(total_bytes));
    std::byte* next = memory_.bytes().data();
    EXO_TRY_ASSIGN(buffer_,
                   device::buffer_from_host_pointer(device, next, total_bytes, total_bytes));
    for (ggml_tensor* tensor = ggml_get_first_tensor(context_.get()); tensor != nullptr;
         tensor = ggml_get_next_tensor(context_.get(), tensor)) {
        const ggml_status status = ggml_backend_tensor_alloc(buffer_.get(), tensor, next);
        EXO_ASSERT(status == GGML_STATUS_SUCCESS);
        next += aligned_bytes(tensor);
    }
    return {};
}

Result<void> KvCache::allocate_on(const device::Device& device) {
    buffer_.reset(ggml_backend_alloc_ctx_tensors_from_buft(context_.get(),
                                                           device::compute_buffer_type(device)));
    if (!buffer_) {
        return fail(ErrorCode::resource_exhausted, device.facts.id + " has not enough memory.");
    }
    // Masked positions still enter the arithmetic, so they must not be NaN.
    ggml_backend_buffer_clear(buffer_.get(), 0);
    return {};
}

Result<KvCache> KvCache::create(const model::Architecture& architecture, const ShardSlice& slice,
                                const KvCacheOptions& options) {
    KvCache cache;
    cache.slot_count_ = options.slot_count;
    cache.context_length_ = options.context_length;
    cache.context_.reset(
        ggml_init({.mem_size = 2UL * (slice.layers.count + 1) * ggml_tensor_overhead(),
                   .mem_buffer = nullptr,
                   .no_alloc = true}));
    const ggml_type type = ggml_type_of(options.type);
    const std::int64_t block = ggml_blck_size(type);
    if (architecture.key_length % block != 0 || architecture.value_length % block != 0) {
        return fail(ErrorCode::unsupported,
                    "a KV cache of type q8_0 wants heads of a multiple of 32 values.",
                    "Use the type f16.");
    }
    const std::int64_t positions = std::int64_t{options.slot_count} * options.context_length;
    const std::int64_t heads = slice.key_value_heads.count;
    if (heads == 0) return cache;  // a rank without attention remembers nothing
    for (std::uint32_t layer = 0; layer < slice.layers.count; ++layer) {
        ggml_context* context = cache.context_.get();
        cache.keys_.push_back(
            ggml_new_tensor_2d(context, type, heads * architecture.key_length, positions));
        cache.values_.push_back(
            ggml_new_tensor_2d(context, type, heads * architecture.value_length, positions));
        cache.size_bytes_ += ggml_nbytes(cache.keys_.back()) + ggml_nbytes(cache.values_.back());
    }
    const Result<void> allocated = options.device.facts.buffer_from_host_pointer
                                       ? cache.allocate_lazily(options.device)
                                       : cache.allocate_on(options.device);
    if (!allocated) {
        return fail(ErrorCode::resource_exhausted,
                    "no room for the KV cache of " + std::to_string(options.slot_count) + " × " +
                        std::to_string(options.context_length) + " tokens (" +
                        std::to_string(cache.size_bytes_ >> 20) +
                        " MiB): " + allocated.error().message,
                    "Use a shorter context, fewer slots or the cache type q8_0.");
    }
    return cache;
}

void KvCache::copy(std::uint32_t from_slot, std::uint32_t to_slot, std::uint32_t length) {
    std::vector<std::byte> staging;
    for (const auto* tensors : {&keys_, &values_}) {
        for (ggml_tensor* tensor : *tensors) {
            const std::size_t slot_bytes = tensor->nb[1] * context_length_;
            const std::size_t size_bytes = tensor->nb[1] * length;
            staging.resize(size_bytes);
            ggml_backend_tensor_get(tensor, staging.data(), from_slot * slot_bytes, size_bytes);
            ggml_backend_tensor_set(tensor, staging.data(), to_slot * slot_bytes, size_bytes);
        }
    }
}

}  // namespace exomesh::engine
