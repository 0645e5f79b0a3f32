// What a command adds to the program.
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

#include "main/exit_code.h"

namespace exomesh::main {

// Set while the command line is parsed, called after it: the body of the command that was chosen.
using ChosenCommand = std::function<ExitCode()>;

// Makes `body` the chosen one when `command` is on the command line; `options` lives as long as it.
template <typename Options, typename Body>
void choose_on_parse(CLI::App& command, ChosenCommand& chosen, const Options& options, Body body) {
    command.callback(
        [&chosen, options, body] { chosen = [options, body] { return body(*options); }; });
}

}  // namespace exomesh::main
