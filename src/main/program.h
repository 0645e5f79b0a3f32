// The `exomesh` program: its commands and its command line.
#pragma once

namespace exomesh::main {

// Parses the command line, runs the command and gives the process's exit code (exit_code.h).
[[nodiscard]] int run_program(int argument_count, char** arguments);

}  // namespace exomesh::main
