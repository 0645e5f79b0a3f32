#include "engine/open_shard.h"

#include <algorithm>
#include <string>
#include <utility>

#include "device/device.h"
#include "engine/self_test_needs.h"
#include "platform/clock.h"

namespace exomesh::engine {

namespace {

constexpr std::uint32_t context_length_default_max = 8192;
constexpr std::uint32_t slot_count_max = 256;

}  // namespace

Result<std::uint32_t> choose_context_length(const EngineOptions& options,
                                            const model::Architecture& architecture) {
    const std::uint32_t trained = architecture.context_length;
    if (options.context_length == 0) return std::min(trained, context_length_default_max);
    if (options.context_limit == ContextLimit::trained && options.context_length > trained) {
        return fail(ErrorCode::invalid_argument,
                    "the model was trained for a context of " + std::to_string(trained) +
                        " tokens, " + std::to_string(options.context_length) + " were asked for.",
                    "Ask for at most " + std::to_string(trained) + ".");
    }
    return options.context_length;
}

namespace {

Result<ShardOptions> shard_options_of(const ModelFile& file, const EngineOptions& options) {
    if (options.slot_count == 0 || options.slot_count > slot_count_max) {
        return fail(ErrorCode::invalid_argument, "the number of slots must lie between 1 and " +
                                                     std::to_string(slot_count_max) + ".");
    }
    EXO_TRY_ASSIGN(const std::uint32_t context_length,
                   choose_context_length(options, file.architecture));
    return ShardOptions{
        .device = {},
        .thread_count = options.thread_count,
        .slot_count = options.slot_count,
        .context_length = context_length,
        .chunk_length = std::clamp(options.chunk_length, 1U, context_length),
        .cache_type = options.cache_type,
        .weight_layout = options.weight_layout,
        .attention = options.flash_attention ? AttentionKind::flash : AttentionKind::plain,
        .on_progress = options.on_progress};
}

}  // namespace

Result<OpenedShard> open_shard(const ModelFile& file, const EngineOptions& options) {
    const std::uint64_t begin_us = platform::monotonic_us();
    EXO_TRY_ASSIGN(ShardOptions shard_options, shard_options_of(file, options));
    EXO_TRY_ASSIGN(device::Choice choice,
                   device::DeviceRegistry::instance().choose(
                       options.device, self_test_groups_for(file, options.cache_type)));
    shard_options.device = choice.device;
    const ShardSlice slice = ShardSlice::whole(file.architecture);
    auto shard = Shard::create(file, slice, shard_options);
    const bool is_cpu = choice.device.facts.kind == device::DeviceKind::cpu;
    if (!shard && options.device == "auto" && !is_cpu) {
        choice.reason = choice.device.facts.id +
                        " could not take the model: " + shard.error().message +
                        " The CPU computes instead.";
        EXO_TRY_ASSIGN(shard_options.device, device::DeviceRegistry::instance().cpu());
        shard = Shard::create(file, slice, shard_options);
    }
    if (!shard) return std::unexpected(std::move(shard).error());
    EngineInformation information{.device = shard_options.device.facts.id,
                                  .device_reason = choice.reason,
                                  .context_length = shard_options.context_length,
                                  .slot_count = shard_options.slot_count,
                                  .weight_bytes = (*shard)->weight_bytes(),
                                  .cache_bytes = (*shard)->cache_bytes(),
                                  .compute_bytes = (*shard)->compute_bytes(),
                                  .load_us = platform::monotonic_us() - begin_us};
    return OpenedShard{*std::move(shard), std::move(information)};
}

}  // namespace exomesh::engine
