// The options of every command that loads a model, and the loading itself.
#pragma once

#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "engine/engine.h"
#include "main/cluster_flags.h"

namespace exomesh::main {

inline constexpr std::uint32_t thread_count_max = 512;  // ggml's own limit
inline constexpr std::uint32_t chunk_length_max = 8192;

struct EngineFlags {
    std::string model;  // as typed: a name or a path
    std::string cache_type = "f16";
    std::string weight_layout = "fast";
    bool no_flash_attention = false;
    ClusterFlags cluster;
    engine::EngineOptions options;  // without what the fields above say
};

struct SamplingFlags {
    engine::SamplingOptions sampling;
    std::int64_t seed = -1;  // below 0: a fresh one
    std::uint32_t max_tokens = 0;
    std::vector<std::string> stop;
};

// The references must outlive the parse.
void add_engine_flags(CLI::App& command, EngineFlags& flags);
void add_sampling_flags(CLI::App& command, SamplingFlags& flags);

// What the flags ask for, with the path of the model they name. not_found: no such model.
[[nodiscard]] Result<engine::EngineOptions> engine_options_of(const EngineFlags& flags);

// Finds the model, loads it with a progress line on a terminal, and says there which device
// computes and why.
[[nodiscard]] Result<std::unique_ptr<engine::Engine>> open_engine(const EngineFlags& flags);

// The loading alone, with options of engine_options_of().
[[nodiscard]] Result<std::unique_ptr<engine::Engine>> load_engine(const EngineFlags& flags,
                                                                  engine::EngineOptions options);

// A request with these options; the prompt is empty still.
[[nodiscard]] engine::GenerateRequest make_request(const SamplingFlags& flags);

// A finite number in [low, high].
[[nodiscard]] CLI::Validator number_between(double low, double high);

}  // namespace exomesh::main
