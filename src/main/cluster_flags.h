// The flags that spread a model over several processes and devices.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "engine/engine.h"
#include "runner/cluster.h"
#include "runner/link_survey.h"

namespace exomesh::main {

// What becomes of the flags.
struct ClusterShape {
    std::uint32_t rank_count = 1;
    std::uint32_t thread_count = 0;  // of this rank; 0: one per physical core
    std::string split = {};          // for people
};

struct ClusterFlags {
    std::uint32_t local_count = 0;   // processes on this machine, this one included; 0: not given
    std::vector<std::string> peers;  // "host:port/PEERID" of running workers
    std::string split;               // as typed; empty: tensor
    std::vector<double> shares;
    std::vector<std::string> devices;
    std::string wire = "q8";
    std::string overlap = "auto";
    bool is_in_process = false;  // local ranks are threads: as on phones, and for tests
    // Not typed: this process computes nothing, so that it outlives what drivers do; all local
    // ranks are child processes, a single one, too. Not with is_in_process.
    bool is_head_idle = false;
    std::string figures;  // to show on stderr: "", "end", or "token" for each of them, too
    // Not typed: where given, the links are measured once the cluster is open.
    std::function<void(const runner::LinkReport&)> on_links = {};
    // Not typed: gets what was recorded when the cluster is closed.
    std::function<void(runner::ClusterRecord)> on_record = {};
    bool records_spans = false;  // for a trace
    bool checks_sums = false;
};

// The references must outlive the parse.
void add_cluster_flags(CLI::App& command, ClusterFlags& flags);

// Whether the flags ask for several ranks at all.
[[nodiscard]] bool wants_cluster(const ClusterFlags& flags);

// Makes the options open a cluster where the flags ask for one. With --split auto the shape is that
// of all ranks it may choose from, and `on_choice` gets the chosen one before it is loaded.
[[nodiscard]] Result<ClusterShape> use_cluster(
    const ClusterFlags& flags, engine::EngineOptions& options,
    std::function<void(const ClusterShape&)> on_choice = {});

}  // namespace exomesh::main
