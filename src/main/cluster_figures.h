// What --cluster-figures shows, and in JSON: what each rank's time went into.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "main/cluster_flags.h"
#include "model/chat_template.h"
#include "runner/cluster.h"

namespace exomesh::main {

CLI::Option* add_figures_flag(CLI::App& command, ClusterFlags& flags);

// Makes the cluster record what the flags want to see.
void record_as_asked(const ClusterFlags& flags, runner::ClusterOptions& cluster);

// One line.
[[nodiscard]] std::string step_line(const runner::StepReport& report);
// A summary and a table of the ranks; "" where there were no steps.
[[nodiscard]] std::string statistics_table(const runner::ClusterStatistics& statistics);
[[nodiscard]] model::Json statistics_json(const runner::ClusterStatistics& statistics);

}  // namespace exomesh::main
