#include "runner/split.h"

#include <charconv>
#include <numeric>
#include <span>

#include "engine/partition.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

Result<std::uint32_t> stages_of(const Split& split, std::uint32_t rank_count) {
    switch (split.kind) {
        case SplitKind::tensor:
            return 1;
        case SplitKind::pipeline:
            return rank_count;
        case SplitKind::hybrid:
            break;
    }
    const std::uint64_t needed = std::uint64_t{split.stage_count} * split.ranks_per_stage;
    if (needed != rank_count) {
        return fail(ErrorCode::invalid_argument,
                    std::to_string(split.stage_count) + "x" +
                        std::to_string(split.ranks_per_stage) + " makes " + std::to_string(needed) +
                        " ranks, not " + std::to_string(rank_count) + ".",
                    "Stages times ranks must be all processes and peers, this one included.");
    }
    return split.stage_count;
}

// 0 for what is no number.
std::uint32_t parse_count(std::string_view text) {
    std::uint32_t count = 0;
    const char* const end = text.data() + text.size();
    const auto [after, error] = std::from_chars(text.data(), end, count);
    return error == std::errc() && after == end ? count : 0;
}

}  // namespace

Result<Split> parse_split(std::string_view text) {
    if (text == "tensor") return Split{.kind = SplitKind::tensor};
    if (text == "pipeline") return Split{.kind = SplitKind::pipeline};
    const std::size_t cross = text.find('x');
    if (cross != std::string_view::npos) {
        const std::uint32_t stages = parse_count(text.substr(0, cross));
        const std::uint32_t ranks = parse_count(text.substr(cross + 1));
        if (stages > 0 && ranks > 0) {
            return Split{
                .kind = SplitKind::hybrid, .stage_count = stages, .ranks_per_stage = ranks};
        }
    }
    return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is no way to split.",
                "Use tensor, pipeline, or 2x2 for two stages of two ranks each.");
}

Result<std::vector<PlannedRank>> plan_ranks(const engine::ModelFile& model, const Split& split,
                                            std::uint32_t rank_count,
                                            const std::vector<double>& shares) {
    if (rank_count == 0 || rank_count > rank_count_max) {
        return fail(ErrorCode::invalid_argument,
                    "between 1 and " + std::to_string(rank_count_max) + " ranks are possible.");
    }
    if (!shares.empty() && shares.size() != rank_count) {
        return fail(ErrorCode::invalid_argument,
                    std::to_string(shares.size()) + " shares were given for " +
                        std::to_string(rank_count) + " ranks.",
                    "Give one share for each rank, the first for this process.");
    }
    EXO_TRY_ASSIGN(const std::uint32_t stage_count, stages_of(split, rank_count));
    const std::vector<double> weights =
        shares.empty() ? std::vector<double>(rank_count, 1.0) : shares;
    const std::size_t per_stage = rank_count / stage_count;
    std::vector<double> stage_shares;
    for (std::size_t stage = 0; stage < stage_count; ++stage) {
        const auto begin = weights.begin() + static_cast<std::ptrdiff_t>(stage * per_stage);
        stage_shares.push_back(
            std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(per_stage), 0.0));
    }
    const model::Architecture& architecture = model.architecture;
    EXO_TRY_ASSIGN(const auto layers, engine::split_layers(architecture.layer_count, stage_shares));
    const engine::Alignment alignment = engine::alignment_of(model.gguf, architecture);
    std::vector<PlannedRank> ranks;
    for (std::size_t stage = 0; stage < stage_count; ++stage) {
        EXO_TRY_ASSIGN(
            const auto slices,
            engine::split_tensor(alignment, architecture, layers[stage],
                                 std::span(weights).subspan(stage * per_stage, per_stage)));
        for (const engine::ShardSlice& slice : slices) {
            ranks.push_back({.stage = static_cast<std::uint16_t>(stage), .slice = slice});
        }
    }
    return ranks;
}

}  // namespace exomesh::runner
