// How a model is spread over ranks: the text people type, and the slices that follow from it. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/model_file.h"
#include "engine/shard_slice.h"

namespace exomesh::runner {

enum class SplitKind {
    tensor,     // all ranks share every layer
    pipeline,   // each rank has layers of its own
    hybrid,     // stages of several ranks each
    layers,     // stages that were written down one by one
    automatic,  // whichever is fastest, by choose_cluster.h; no plan by itself
};

// One stage as people write it down: its layers, and who computes them together.
struct SplitStage {
    engine::Range layers;
    std::vector<std::string> devices;  // of each rank; "": the default one
    std::vector<double> shares;        // of each rank, in proportion to each other
};

struct Split {
    SplitKind kind = SplitKind::tensor;
    // Of a hybrid; ranks are dealt out stage by stage.
    std::uint32_t stage_count = 1;
    std::uint32_t ranks_per_stage = 1;
    std::vector<SplitStage> stages = {};  // of `layers`
};

inline constexpr std::size_t split_text_bytes_max = 4096;

// invalid_argument for anything but:
//     auto | tensor | pipeline | SxR (S stages of R ranks each) | stage (" " stage)*
//     stage: FIRST-LAST [":" rank ("+" rank)*]     rank: DEVICE ["*" SHARE]
// as in "0-11:cpu*0.7+vulkan0*0.3 12-29:cpu". Whether the layers are the model's is for
// plan_ranks() to say.
[[nodiscard]] Result<Split> parse_split(std::string_view text);

// How many ranks the split itself asks for; nothing where it is for any number.
[[nodiscard]] std::optional<std::uint32_t> rank_count_of(const Split& split);

// The device of each rank, "" for the default one; empty where the split names none.
[[nodiscard]] std::vector<std::string> devices_of(const Split& split);

struct PlannedRank {
    std::uint16_t stage = 0;
    engine::ShardSlice slice;
};

// `shares`: one number for each rank, or empty for equal ones and where the split itself has them.
// In a hybrid a stage's share of the layers is the sum of its ranks' shares. invalid_argument where
// the model cannot be cut like this.
[[nodiscard]] Result<std::vector<PlannedRank>> plan_ranks(const engine::ModelFile& model,
                                                          const Split& split,
                                                          std::uint32_t rank_count,
                                                          const std::vector<double>& shares);

}  // namespace exomesh::runner
