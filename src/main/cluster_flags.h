// The flags that spread a model over several processes and devices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "engine/engine.h"

namespace exomesh::main {

struct ClusterFlags {
    std::uint32_t local_count = 1;   // processes on this machine, this one included
    std::vector<std::string> peers;  // "host:port/PEERID" of running workers
    std::string split = "tensor";
    std::vector<double> shares;
    std::vector<std::string> devices;
    std::string wire = "q8";
    bool is_verbose = false;
};

// The references must outlive the parse.
void add_cluster_flags(CLI::App& command, ClusterFlags& flags);

// Makes the options open a cluster where the flags ask for one.
[[nodiscard]] Result<void> use_cluster(const ClusterFlags& flags, engine::EngineOptions& options);

}  // namespace exomesh::main
