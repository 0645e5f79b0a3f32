// `exomesh models`: the catalogue, or the facts of one GGUF file.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_models_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
