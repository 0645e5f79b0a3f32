// How a model is spread over ranks: the text people type, and the slices that follow from it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/model_file.h"
#include "engine/shard_slice.h"

namespace exomesh::runner {

enum class SplitKind {
    tensor,    // all ranks share every layer
    pipeline,  // each rank has layers of its own
    hybrid,    // stages of several ranks each
};

struct Split {
    SplitKind kind = SplitKind::tensor;
    // Of a hybrid; ranks are dealt out stage by stage.
    std::uint32_t stage_count = 1;
    std::uint32_t ranks_per_stage = 1;
};

// "tensor", "pipeline", or "SxR" for S stages of R ranks each. invalid_argument otherwise.
[[nodiscard]] Result<Split> parse_split(std::string_view text);

struct PlannedRank {
    std::uint16_t stage = 0;
    engine::ShardSlice slice;
};

// `shares`: one number for each rank, or empty for equal ones. In a hybrid a stage's share of the
// layers is the sum of its ranks' shares. invalid_argument where the model cannot be cut like this.
[[nodiscard]] Result<std::vector<PlannedRank>> plan_ranks(const engine::ModelFile& model,
                                                          const Split& split,
                                                          std::uint32_t rank_count,
                                                          const std::vector<double>& shares);

}  // namespace exomesh::runner
