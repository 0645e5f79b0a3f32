// `exomesh run`: one prompt, one answer.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_run_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
