#include "runner/split.h"

#include <numeric>
#include <span>
#include <string>

#include "engine/partition.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

// A stage of a plan: its layers, and the shares of its ranks.
struct Stage {
    engine::Range layers;
    std::vector<double> shares;
};

std::string layers_text(engine::Range layers) {
    if (layers.count == 1) return "layer " + std::to_string(layers.first);
    return "layers " + std::to_string(layers.first) + " to " + std::to_string(layers.end() - 1);
}

// Every layer once, in order.
Result<void> check_layers(const std::vector<SplitStage>& stages, std::uint32_t layer_count) {
    const auto refuse = [&](const std::string& what) {
        return fail(ErrorCode::invalid_argument,
                    "the split " + what + "; the model has " + std::to_string(layer_count) +
                        " layers, 0 to " + std::to_string(layer_count - 1) + ".",
                    "Every layer must be in one part, and the parts in order.");
    };
    std::uint32_t next = 0;
    for (const SplitStage& stage : stages) {
        const engine::Range layers = stage.layers;
        if (layers.first > next) {
            return refuse("leaves out " +
                          layers_text({.first = next, .count = layers.first - next}));
        }
        if (layers.first < next) {
            const std::uint32_t end = std::min(next, layers.end());
            return refuse("has " +
                          layers_text({.first = layers.first, .count = end - layers.first}) +
                          " twice, or out of order");
        }
        next = layers.end();
    }
    if (next > layer_count) {
        return refuse("has " + layers_text({.first = layer_count, .count = next - layer_count}) +
                      " that the model lacks");
    }
    if (next < layer_count) {
        return refuse("leaves out " + layers_text({.first = next, .count = layer_count - next}));
    }
    return {};
}

std::string name_of(const Split& split) {
    if (split.kind == SplitKind::layers) return "the split";
    return std::to_string(split.stage_count) + "x" + std::to_string(split.ranks_per_stage);
}

Result<void> check_counts(const Split& split, std::uint32_t rank_count,
                          const std::vector<double>& shares) {
    if (rank_count == 0 || rank_count > rank_count_max) {
        return fail(ErrorCode::invalid_argument,
                    "between 1 and " + std::to_string(rank_count_max) + " ranks are possible.");
    }
    const std::uint32_t needed = rank_count_of(split).value_or(rank_count);
    if (needed != rank_count) {
        return fail(ErrorCode::invalid_argument,
                    name_of(split) + " makes " + std::to_string(needed) + " ranks, not " +
                        std::to_string(rank_count) + ".",
                    "All processes and peers together, this one included, must be as many.");
    }
    if (shares.empty()) return {};
    if (split.kind == SplitKind::layers) {
        return fail(ErrorCode::invalid_argument,
                    "a split that names layers says itself what each rank gets.",
                    "Write shares into it, like 0-11:cpu*0.7+vulkan0*0.3.");
    }
    if (shares.size() != rank_count) {
        return fail(ErrorCode::invalid_argument,
                    std::to_string(shares.size()) + " shares were given for " +
                        std::to_string(rank_count) + " ranks.",
                    "Give one share for each rank, the first for this process.");
    }
    return {};
}

// The ranks' shares decide how many layers a stage gets.
Result<std::vector<Stage>> divide(const Split& split, std::uint32_t layer_count,
                                  const std::vector<double>& shares) {
    std::size_t stage_count = 1;
    if (split.kind == SplitKind::pipeline) stage_count = shares.size();
    if (split.kind == SplitKind::hybrid) stage_count = split.stage_count;
    const std::size_t per_stage = shares.size() / stage_count;
    std::vector<Stage> stages(stage_count);
    std::vector<double> stage_shares;
    auto next = shares.begin();
    for (Stage& stage : stages) {
        stage.shares.assign(next, next + static_cast<std::ptrdiff_t>(per_stage));
        next += static_cast<std::ptrdiff_t>(per_stage);
        stage_shares.push_back(std::accumulate(stage.shares.begin(), stage.shares.end(), 0.0));
    }
    EXO_TRY_ASSIGN(const auto layers, engine::split_layers(layer_count, stage_shares));
    for (std::size_t i = 0; i < stage_count; ++i) stages[i].layers = layers[i];
    return stages;
}

Result<std::vector<Stage>> stages_of(const Split& split, std::uint32_t layer_count,
                                     std::uint32_t rank_count, const std::vector<double>& shares) {
    if (split.kind != SplitKind::layers) {
        return divide(split, layer_count,
                      shares.empty() ? std::vector<double>(rank_count, 1.0) : shares);
    }
    EXO_TRY(check_layers(split.stages, layer_count));
    std::vector<Stage> stages;
    for (const SplitStage& written : split.stages) {
        stages.push_back({.layers = written.layers, .shares = written.shares});
    }
    return stages;
}

}  // namespace

Result<std::vector<PlannedRank>> plan_ranks(const engine::ModelFile& model, const Split& split,
                                            std::uint32_t rank_count,
                                            const std::vector<double>& shares) {
    EXO_TRY(check_counts(split, rank_count, shares));
    const model::Architecture& architecture = model.architecture;
    EXO_TRY_ASSIGN(const std::vector<Stage> stages,
                   stages_of(split, architecture.layer_count, rank_count, shares));
    const engine::Alignment alignment = engine::alignment_of(model.gguf, architecture);
    std::vector<PlannedRank> ranks;
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
        EXO_TRY_ASSIGN(const auto slices,
                       engine::split_tensor(alignment, architecture, stages[stage].layers,
                                            stages[stage].shares));
        for (const engine::ShardSlice& slice : slices) {
            ranks.push_back({.stage = static_cast<std::uint16_t>(stage), .slice = slice});
        }
    }
    return ranks;
}

}  // namespace exomesh::runner
