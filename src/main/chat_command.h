// `exomesh chat`: a conversation in the terminal or over a pipe.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_chat_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
