// Keeps a worker at work whatever becomes of the process that computes: a driver may end that one,
// or hang in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "main/exit_code.h"

namespace exomesh::main {

// What ends over and over does so again: starting it would only hide that.
class RestartLimit {
  public:
    static constexpr std::size_t count_max = 5;
    static constexpr std::uint64_t within_us = 60'000'000;

    // Counts an end; whether what ended may be started once more.
    [[nodiscard]] bool allows(std::uint64_t now_us);

  private:
    std::deque<std::uint64_t> ends_us_;  // within the time
};

struct RunnerCommand {
    std::vector<std::string> arguments;  // the program first; it prints a line once it serves
    int socket = -1;                     // inherited: nobody who connects notices a restart
    std::function<bool()> on_ready;      // it serves for the first time; false: that is the end
};

// Runs it until Ctrl-C or SIGTERM, which it is told to end in order by. Where it ends by itself, it
// is started again, but not if it ended without an error, or never served: it has said why, and its
// exit code is the result.
[[nodiscard]] ExitCode supervise(const RunnerCommand& command);

}  // namespace exomesh::main
