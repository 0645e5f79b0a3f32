// The exit codes of `exomesh`, documented in its --help.
#pragma once

#include "base/result.h"

namespace exomesh::main {

enum class ExitCode : int {
    success = 0,
    failure = 1,
    usage = 2,
    not_found = 3,
    corrupt_data = 4,
    unsupported = 5,
    resource_exhausted = 6,
    unavailable = 7,
    interrupted = 130,  // as shells count SIGINT
    terminated = 143,   // and SIGTERM
};

inline constexpr const char* exit_code_help =
    "Exit codes: 0 done, 1 failed, 2 wrong command line or request, 3 no such model, file or "
    "device,\n"
    "  4 damaged file, 5 not supported, 6 out of memory or over a limit, 7 busy or gone,\n"
    "  130 stopped by Ctrl-C, 143 by SIGTERM (up and worker: 0, that is how they end).";

[[nodiscard]] ExitCode exit_code_of(ErrorCode code);

// What a program ends with that a signal (of InterruptScope::signal_number) has stopped.
[[nodiscard]] ExitCode exit_code_of_signal(int number);

// Prints "error: ..." on stderr and gives the code to end with.
ExitCode report(const Error& error);

}  // namespace exomesh::main
