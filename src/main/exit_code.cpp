#include "main/exit_code.h"

#include <signal.h>

#include <string>

#include "main/terminal.h"
#include "model/printable.h"

namespace exomesh::main {

ExitCode exit_code_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::invalid_argument:
            return ExitCode::usage;
        case ErrorCode::not_found:
            return ExitCode::not_found;
        case ErrorCode::corrupt_data:
            return ExitCode::corrupt_data;
        case ErrorCode::unsupported:
            return ExitCode::unsupported;
        case ErrorCode::resource_exhausted:
            return ExitCode::resource_exhausted;
        case ErrorCode::unavailable:
            return ExitCode::unavailable;
        case ErrorCode::cancelled:
            return ExitCode::interrupted;
        case ErrorCode::io:
        case ErrorCode::internal:
            return ExitCode::failure;
    }
    return ExitCode::failure;
}

ExitCode exit_code_of_signal(int number) {
    return number == SIGTERM ? ExitCode::terminated : ExitCode::interrupted;
}

ExitCode report(const Error& error) {
    // Errors quote model files and peers, which must not speak to the terminal.
    const std::string text = model::printable(error.text(), "\n\t");
    print_note(styled(Style::error, "error:") + " " + text + "\n");
    return exit_code_of(error.code);
}

}  // namespace exomesh::main
