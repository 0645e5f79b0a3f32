// `exomesh version`: what runs here.
#pragma once

#include <string>

#include "main/command.h"

namespace exomesh::main {

// "exomesh 0.1.0 (ggml 0.9.4)"
[[nodiscard]] std::string version_text();

void add_version_command(CLI::App& program, ChosenCommand& chosen);

}  // namespace exomesh::main
