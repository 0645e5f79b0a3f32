// `exomesh worker`: lends this device to a head.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_worker_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
