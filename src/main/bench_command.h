// `exomesh bench`: tokens per second, with the flags and the table of llama-bench.
#pragma once

#include <string>
#include <vector>

#include "main/command.h"

namespace exomesh::main {

void add_bench_command(CLI::App& program, ChosenCommand& chosen);

// llama-bench has options of several letters behind one dash ("-ub"), which CLI11 does not know:
// they become the long ones where the command is `bench`. `arguments` are without the program's
// name.
[[nodiscard]] std::vector<std::string> translate_bench_arguments(
    std::vector<std::string> arguments);

}  // namespace exomesh::main
