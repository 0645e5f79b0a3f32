// `exomesh up`: the HTTP server.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_up_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
