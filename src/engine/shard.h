// A shard that computes: weights, KV cache and graphs on one device, one step at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/engine.h"
#include "engine/graph.h"
#include "engine/model_file.h"
#include "engine/reducer.h"
#include "engine/shard_slice.h"
#include "engine/step_executor.h"

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
    // For a slice of heads and columns: sums over the ranks that have the others. Must outlive the
    // shard. nullptr: the slice is whole.
    Reducer* reducer = nullptr;
    std::optional<ReduceAt> reduce_at = {};  // empty: as the device needs it
    // Batches of so many tokens are computed in two halves: while the sums of one travel, the other
    // computes. All ranks must have the same. 0: none are.
    std::uint32_t overlap_tokens_min = 0;
    std::function<void(double)> on_progress;
};

// Threads: one at a time, and on the CPU always the same one (see device::Compute).
class Shard : public StepExecutor {
  public:
    // `model` must outlive the shard. What the device's driver throws comes back as unavailable.
    [[nodiscard]] static Result<std::unique_ptr<Shard>> create(const ModelFile& model,
                                                               const ShardSlice& slice,
                                                               const ShardOptions& options);
    ~Shard() override;
    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;

    [[nodiscard]] Result<void> start(std::span<const SlotTokens> batch) override;
    [[nodiscard]] Result<std::span<const OutputRow>> finish() override;
    // Both for a slice that does not embed: `states` are the batch's hidden states from the
    // layers before, [embedding] f32 for each token. Tokens are only counted.
    [[nodiscard]] Result<std::span<const float>> compute_states(std::span<const SlotTokens> batch,
                                                                std::span<const float> states);

    [[nodiscard]] Result<void> copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                                         std::uint32_t length) override;

    // The slice's vocabulary rows where it has the LM head, else the embedding.
    [[nodiscard]] std::uint32_t output_length() const override;
    [[nodiscard]] std::uint32_t context_length() const override;
    [[nodiscard]] std::uint64_t weight_bytes() const override;
    [[nodiscard]] std::uint64_t cache_bytes() const override;
    [[nodiscard]] std::uint64_t compute_bytes() const override;

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
