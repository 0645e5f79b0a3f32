// Chooses how a model is split by measuring: the devices of all ranks and the links to them, for
// placement/choose_split.h to decide.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "net/identity.h"
#include "placement/choose_split.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

struct RankCandidate {
    std::string device;                   // as people type it
    std::optional<WorkerAddress> worker;  // nothing: a rank of this machine
};

struct ChooseOptions {
    net::Identity identity;
    engine::CacheType cache_type = engine::CacheType::f16;
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
// Between processes of one machine.
inline constexpr placement::LinkFigures loopback{
    .latency_us = 10, .bytes_per_s = 1e9, .message_us = message_us};
}  // namespace guessed

// The first candidate is this process. Links between two workers are taken to be as slow as the
// slower of the head's links to them. One rank after the other is measured, each for some 0.3 s; a
// device of this machine once. Ranks whose device cannot be measured (a software GPU) are left out,
// by name; where that is the first one, and where a worker cannot be reached, it is an error, which
// names the rank.
[[nodiscard]] Result<placement::SplitChoice> choose_cluster(
    const engine::ModelFile& model, const std::vector<RankCandidate>& candidates,
    const ChooseOptions& options);

}  // namespace exomesh::runner
