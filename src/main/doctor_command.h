// `exomesh doctor`: the devices of this machine, whether they work, and what is missing.
#pragma once

#include "main/command.h"

namespace exomesh::main {

void add_doctor_command(CLI::App& program, ChosenCommand& chosen);

// The hidden command a device is tested with in a process of its own (device/trust.h).
void add_self_test_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
