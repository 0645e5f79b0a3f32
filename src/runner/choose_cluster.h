// Chooses how a model is split by measuring: the devices of all ranks and the links to them, for
// placement/choose_split.h to decide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "net/identity.h"
#include "placement/choose_split.h"
#include "runner/all_reduce_cost.h"
#include "runner/messages.h"
#include "runner/split.h"
#include "runner/wire_codec.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

struct RankCandidate {
    std::string device;                   // as people type it
    std::optional<WorkerAddress> worker;  // nothing: a rank of this machine
    // Of a rank of this machine: a runner that measures it, where this process is not to.
    std::optional<WorkerAddress> measured_by = {};
};

// What is not measured before loading, but guessed once for all devices: the order of magnitude is
// what one desktop CPU, one discrete GPU and the loopback of one machine show. They decide between
// splits only where a model is so small that its layers take tens of microseconds.
namespace guessed {
inline constexpr double flops_per_s = 1e12;           // only prompts need it, and nobody asks
inline constexpr double part_us_cpu = 2;              // half a layer, however small its slice
inline constexpr double part_us_gpu = 15;             // with what it takes to start kernels
inline constexpr double wake_us = 20;                 // of a rank that slept
inline constexpr double value_us = 0.5e-3;            // to encode one value and add the others'
inline constexpr double message_us = 8;               // of processor time for a message, both ends
inline constexpr std::uint32_t context_length = 512;  // that a token looks back at
// What a rank needs to compute beside weights and cache: for each token of a chunk so many vectors
// as long as the embedding, and a mask over its context.
inline constexpr std::uint64_t chunk_vector_count = 16;
// Between processes of one machine.
inline constexpr placement::LinkFigures loopback{
    .latency_us = 10, .bytes_per_s = 1e9, .message_us = message_us};
}  // namespace guessed

// What was found out of one candidate.
struct SurveyedRank {
    std::size_t candidate = 0;
    DeviceSurvey device;
    std::optional<LinkFigures> link = {};  // to the head; nothing: it is on the same machine
};

// What a model asks of the memories, as these options open it, and of a token. Errors as of
// engine::choose_context_length().
[[nodiscard]] Result<placement::Workload> workload_of(const model::Architecture& architecture,
                                                      const engine::EngineOptions& options);

// What the model costs with such a cache, and how a tensor group can cut it.
[[nodiscard]] placement::ModelCost cost_of(const engine::ModelFile& model,
                                           engine::CacheType cache_type);

// Decides by what was measured: candidate 0 first, then others in their order. Links between two
// workers are taken to be as slow as the slower of the head's links to them. Pure. Ranks of the
// choice are numbers of candidates; of those that are not surveyed it says nothing.
[[nodiscard]] placement::SplitChoice choose_by_surveys(const placement::ModelCost& model,
                                                       const placement::Workload& workload,
                                                       std::vector<SurveyedRank> surveyed,
                                                       const std::vector<RankCandidate>& candidates,
                                                       WireType wire = WireType::q8_0);

// What a cluster is opened with for a choice. Pure.
struct ChosenRanks {
    Split split;
    std::vector<double> shares;        // of each rank, as all that follows
    std::vector<std::string> devices;  // as people type them
    std::uint32_t local_count = 0;     // the first ranks, on this machine
    std::vector<WorkerAddress> peers;  // the last ones
};

// `candidates` has those of this machine first.
[[nodiscard]] ChosenRanks chosen_ranks(const placement::SplitChoice& choice,
                                       const std::vector<RankCandidate>& candidates);

// Measures and decides. The first candidate is on this machine. One rank after the other is
// measured: side by side, those of one machine or network would measure each other. A rank takes
// some 0.3 s, beside the first self-test of a GPU, and a device of this machine is measured once.
// Ranks whose device cannot be measured (a software GPU) are left out, by name; where that is the
// first one, and where a worker cannot be reached, it is an error, which names the rank.
[[nodiscard]] Result<placement::SplitChoice> choose_cluster(
    const engine::ModelFile& model, const engine::EngineOptions& options,
    const net::Identity& identity, const std::vector<RankCandidate>& candidates, WireType wire);

}  // namespace exomesh::runner
