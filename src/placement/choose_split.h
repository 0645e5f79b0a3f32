// Which devices compute a model together, and how they split it: the fastest way to one token that
// fits into their memories, by the cost model. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "placement/cost_model.h"

namespace exomesh::placement {

// All subsets of this many ranks are compared; of more, the fastest ones.
inline constexpr std::size_t choice_rank_count_max = 10;

struct CandidateRank {
    std::string name;  // for people: "rank 1 (cpu at 10.0.0.2)"
    DeviceFigures device;
    double memory_bytes = 0;  // for weights, cache and buffers
    // Ranks with the same text compute on the same processor and divide its speed; "": on one of
    // their own.
    std::string processor;
};

enum class ChosenKind { one_process, tensor, pipeline, hybrid };

struct Alternative {
    std::string name;  // "tensor 0.62/0.38"
    double tokens_per_s = 0;
};

struct SplitChoice {
    ChosenKind kind = ChosenKind::one_process;
    std::vector<std::size_t> ranks = {};  // of the candidates, in order; the first is candidate 0
    std::uint32_t stage_count = 1;        // as many ranks in each
    std::vector<double> shares = {};      // of each chosen rank, of 1
    double tokens_per_s = 0;
    std::vector<Alternative> alternatives = {};  // the best of each other kind
    // "rank 2 (...) would only slow it down", or was not tried: one for each candidate that gets
    // nothing.
    std::vector<std::string> left_out = {};
    bool fits =
        true;  // false: no split fits into the memories; then this is the one that needs least
};

// `candidates`: the head first, which always takes part. links[a × n + b] as in Cluster. A rank of
// more is only taken where it makes a token at least 3 % faster: figures are not that exact.
// Predictions are for what can be cut (ModelCost::units); the shares are what to ask the engine
// for.
[[nodiscard]] SplitChoice choose_split(const ModelCost& model,
                                       const std::vector<CandidateRank>& candidates,
                                       const std::vector<LinkFigures>& links,
                                       const Workload& workload,
                                       double bytes_per_value = q8_0_bytes_per_value);

// "tensor 0.62/0.38"
[[nodiscard]] std::string choice_name(const SplitChoice& choice);

// On one line, for people: "[split: tensor 0.62/0.38, predicted 41.0 tok/s; pipeline 33.1, one
// process 27.0; rank 2 (...) would only slow it down]"
[[nodiscard]] std::string choice_text(const SplitChoice& choice);

}  // namespace exomesh::placement
