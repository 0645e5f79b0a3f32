// The figures of `exomesh bench` as llama-bench's table and JSON, with what several ranks add.
#pragma once

#include <cstdint>
#include <string>

#include "engine/bench.h"
#include "engine/engine.h"
#include "main/model_facts.h"
#include "model/chat_template.h"
#include "runner/link_survey.h"

namespace exomesh::main {

// One test of one model.
struct BenchLine {
    ModelFacts facts;
    engine::EngineInformation information;
    engine::BenchTest test;
    engine::BenchResult result;
    std::uint32_t thread_count = 0;  // of this process
    std::int64_t began_s = 0;
    std::uint32_t rank_count = 1;
    std::string split;  // as typed; of several ranks, like what follows
    std::string wire;
    runner::LinkReport links;
};

// A cluster's table has columns for the split, the ranks, and what single tokens took.
[[nodiscard]] std::string table_head(bool is_cluster);
[[nodiscard]] std::string table_row(const BenchLine& line, bool is_cluster);

// What lies between the ranks: round trips of 8 bytes and sums, in microseconds, and bandwidth.
[[nodiscard]] std::string links_table(const BenchLine& line);

// `settings` are further members, of the command line.
[[nodiscard]] model::Json json_entry(const BenchLine& line, const model::Json& settings);

}  // namespace exomesh::main
