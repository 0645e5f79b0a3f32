// The `exomesh` program: its commands and its command line.
#pragma once

#include <string>

#include "device/device.h"

namespace exomesh::main {

// Parses the command line, runs the command and gives the process's exit code (exit_code.h).
[[nodiscard]] int run_program(int argument_count, char** arguments);

// How a process of this program is started again: what EXOMESH_PROGRAM names (the bundle sets it,
// because there the running file is the bundled loader), else the running file.
[[nodiscard]] std::string own_program();

// Says on stderr that a device is tested, which nobody would wait for unasked, and on a terminal
// how far that is.
void show_self_test(const device::SelfTestProgress& progress);

}  // namespace exomesh::main
