// The keys and values of past tokens: for each layer of the shard, `slot_count` slots of
// `context_length` positions. A slot belongs to one sequence at a time.
#pragma once

#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml.h>

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/engine.h"
#include "engine/shard_slice.h"
#include "model/architecture.h"
#include "platform/anonymous_memory.h"

namespace exomesh::engine {

[[nodiscard]] ggml_type ggml_type_of(CacheType type);

struct KvCacheOptions {
    device::Device device;
    CacheType type = CacheType::f16;
    std::uint32_t slot_count = 1;
    std::uint32_t context_length = 0;  // positions per slot, a multiple of kv_length_step
};

class KvCache {
  public:
    // All positions read as zero. On the CPU memory is taken as positions are written, not before;
    // resource_exhausted where that could never succeed.
    [[nodiscard]] static Result<KvCache> create(const model::Architecture& architecture,
                                                const ShardSlice& slice,
                                                const KvCacheOptions& options);
    KvCache(KvCache&&) noexcept = default;
    KvCache& operator=(KvCache&&) noexcept = default;

    // [kv heads * key_length, context_length * slot_count]; index = layer within the slice.
    [[nodiscard]] ggml_tensor* keys(std::uint32_t layer) const { return keys_[layer]; }
    [[nodiscard]] ggml_tensor* values(std::uint32_t layer) const { return values_[layer]; }
    [[nodiscard]] std::uint32_t context_length() const { return context_length_; }
    [[nodiscard]] std::uint32_t slot_count() const { return slot_count_; }
    [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

    // Copies the first `length` positions of one slot over another's.
    void copy(std::uint32_t from_slot, std::uint32_t to_slot, std::uint32_t length);

  private:
    KvCache() = default;
    [[nodiscard]] Result<void> allocate_lazily(const device::Device& device);
    [[nodiscard]] Result<void> allocate_on(const device::Device& device);

    ggml_context_ptr context_;
    platform::AnonymousMemory memory_;  // behind buffer_ on the CPU
    ggml_backend_buffer_ptr buffer_;
    std::vector<ggml_tensor*> keys_, values_;
    std::uint32_t slot_count_ = 0;
    std::uint32_t context_length_ = 0;
    std::uint64_t size_bytes_ = 0;
};

}  // namespace exomesh::engine
