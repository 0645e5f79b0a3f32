#include "main/version_command.h"

#include <memory>
#include <string>

#include "base/version.h"
#include "device/device.h"
#include "main/terminal.h"

namespace exomesh::main {

namespace {

struct VersionOptions {};

ExitCode show_version(const VersionOptions& /*options*/) {
    return print(version_text() + "\n") ? ExitCode::success : ExitCode::failure;
}

}  // namespace

std::string version_text() {
    return std::string("exomesh ") + version + " (ggml " + device::ggml_version_text() + ")";
}

void add_version_command(CLI::App& program, ChosenCommand& chosen) {
    CLI::App& command = *program.add_subcommand("version", "print the version");
    choose_on_parse(command, chosen, std::make_shared<VersionOptions>(), show_version);
}

}  // namespace exomesh::main
