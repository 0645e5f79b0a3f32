// `exomesh logits`: the model's next-token distribution at every position of a text, for
// comparisons with other programs (tools/bench/kl.py). Not shown in --help.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_logits_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
