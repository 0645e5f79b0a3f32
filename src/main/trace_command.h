// `exomesh trace`: one request, and where its time went on every rank.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_trace_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
