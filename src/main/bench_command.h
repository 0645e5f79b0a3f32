// `exomesh bench`: tokens per second, with the flags and the table of llama-bench.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_bench_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
