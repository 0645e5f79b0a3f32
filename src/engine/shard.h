// A shard that computes: weights, KV cache and graphs on one device, one step at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/engine.h"
#include "engine/graph.h"
#include "engine/model_file.h"
#include "engine/shard_slice.h"

namespace exomesh::engine {

// Positions of a slot at most: far beyond any model, and small enough to round up in 32 bits.
inline constexpr std::uint32_t context_length_max = 1U << 30;

struct ShardOptions {
    device::Device device;
    std::uint32_t thread_count = 0;  // CPU threads; 0: one per physical core
    std::uint32_t slot_count = 1;
    std::uint32_t context_length = 0;  // positions per slot; rounded up to kv_length_step
    std::uint32_t chunk_length =
        512;  // tokens per step that memory is set aside for; more is allowed
    CacheType cache_type = CacheType::f16;
    WeightLayout weight_layout = WeightLayout::fast;
    AttentionKind attention = AttentionKind::flash;
    std::function<void(double)> on_progress;
};

// New tokens of one slot, at first_position and after. Positions before must have been computed.
struct SlotTokens {
    std::uint32_t slot = 0;
    std::uint32_t first_position = 0;
    std::span<const model::TokenId> tokens;
    OutputRows outputs = OutputRows::last;
};

// Threads: one at a time, and on the CPU always the same one (see device::Compute).
class Shard {
  public:
    // `model` must outlive the shard. What the device's driver throws comes back as unavailable.
    [[nodiscard]] static Result<std::unique_ptr<Shard>> create(const ModelFile& model,
                                                               const ShardSlice& slice,
                                                               const ShardOptions& options);
    ~Shard();
    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;

    // Computes one step. `batch` is sorted by slot, each slot once, none empty, all within the
    // context. Result: the rows that were asked for, in the batch's order, output_length() values
    // each; valid until the next call. An error (the device failed) leaves the cache's new
    // positions undefined.
    [[nodiscard]] Result<std::span<const float>> compute(std::span<const SlotTokens> batch);

    // Copies the first `length` positions of one slot over another's. An error (the device failed)
    // leaves the latter undefined.
    [[nodiscard]] Result<void> copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                                         std::uint32_t length);

    [[nodiscard]] std::uint32_t output_length() const;  // the vocabulary, or the embedding
    [[nodiscard]] std::uint32_t context_length() const;
    [[nodiscard]] std::uint64_t weight_bytes() const;
    [[nodiscard]] std::uint64_t cache_bytes() const;
    [[nodiscard]] std::uint64_t compute_bytes() const;

  private:
    struct State;
    explicit Shard(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The shape of the graph that computes `batch`: which slots share a segment, how far they look
// back.
[[nodiscard]] GraphShape shape_of_batch(std::span<const SlotTokens> batch,
                                        const model::Architecture& architecture,
                                        std::uint32_t context_length);

}  // namespace exomesh::engine
