// `exomesh version`: what runs here.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_version_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
