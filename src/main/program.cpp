#include "main/program.h"

#include <algorithm>
#include <cstdlib>
#include <format>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "device/device.h"
#include "main/bench_command.h"
#include "main/chat_command.h"
#include "main/command.h"
#include "main/doctor_command.h"
#include "main/help_format.h"
#include "main/logits_command.h"
#include "main/models_command.h"
#include "main/run_command.h"
#include "main/suggestion.h"
#include "main/terminal.h"
#include "main/trace_command.h"
#include "main/up_command.h"
#include "main/version_command.h"
#include "main/worker_command.h"

namespace exomesh::main {

namespace {

std::vector<std::string> command_names(const CLI::App& program) {
    std::vector<std::string> names;
    for (const CLI::App* command : program.get_subcommands({}))
        names.push_back(command->get_name());
    return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
    std::vector<std::string> names;
    for (const CLI::Option* option : command.get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    return names;
}

// What is wrong with a command line CLI11 refused, and what was probably meant.
Error explain(const CLI::App& program, const CLI::ParseError& error) {
    const auto chosen = program.get_subcommands();
    const CLI::App& command = chosen.empty() ? program : *chosen.front();
    const std::string help = "`exomesh " + (chosen.empty() ? "" : command.get_name() + " ") +
                             "--help` lists what there is.";
    const auto extras = program.remaining(true);
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError) && !extras.empty()) {
        const std::string& word = extras.front();
        const bool is_option = word.starts_with('-');
        const std::string kind = is_option ? "option" : chosen.empty() ? "command" : "argument";
        const std::string name = word.substr(0, word.find('='));
        const std::string meant = is_option        ? suggestion(name, option_names(command))
                                  : chosen.empty() ? suggestion(name, command_names(program))
                                                   : "";
        return {ErrorCode::invalid_argument, "unknown " + kind + " '" + word + "'." + meant, help};
    }
    std::string message = error.what();
    if (const std::string prefix = "Could not convert: "; message.starts_with(prefix)) {
        const std::string option = message.substr(prefix.size());  // "--max-tokens = -1"
        const std::size_t equals = option.find(" = ");
        message = option.substr(0, equals) + " takes no '" +
                  (equals == std::string::npos ? "" : option.substr(equals + 3)) + "'";
    }
    if (!message.ends_with('.')) message += '.';
    return {ErrorCode::invalid_argument, message, help};
}

void add_commands(CLI::App& program, ChosenCommand& chosen) {
    add_run_command(program, chosen);
    add_chat_command(program, chosen);
    add_trace_command(program, chosen);
    add_up_command(program, chosen);
    add_models_command(program, chosen);
    add_bench_command(program, chosen);
    add_doctor_command(program, chosen);
    add_logits_command(program, chosen);
    add_self_test_command(program, chosen);
    add_worker_command(program, chosen);
    add_version_command(program, chosen);
}

}  // namespace

std::string own_program() {
    const char* program = std::getenv("EXOMESH_PROGRAM");
    return program == nullptr || *program == '\0' ? "/proc/self/exe" : program;
}

void show_self_test(const device::SelfTestProgress& progress) {
    static std::optional<ProgressLine> line;
    switch (progress.phase) {
        case device::SelfTestProgress::Phase::begins:
            print_note(std::format("testing {} ({}) before it is trusted{}; the result is kept\n",
                                   progress.device.id, progress.device.name,
                                   progress.device.kind == device::DeviceKind::cpu
                                       ? ""
                                       : ": its driver compiles for it, which can take minutes"));
            line.emplace("");
            break;
        case device::SelfTestProgress::Phase::runs:
            line->show(std::format("{}/{} operations in {} s: {}", progress.done, progress.total,
                                   progress.elapsed_us / 1'000'000, progress.operation));
            break;
        case device::SelfTestProgress::Phase::ended:
            line.reset();
    }
}

int run_program(int argument_count, char** arguments) {
    CLI::App program("Runs large language models on the devices you own.", "exomesh");
    program.formatter(std::make_shared<HelpFormat>());
    program.footer(std::string("Try: exomesh run smollm2 \"What is a mesh?\"\n\n") +
                   exit_code_help);
    program.set_version_flag("--version", version_text, "print the version");
    program.require_subcommand(0, 1);
    ChosenCommand chosen;
    add_commands(program, chosen);
    // The one place where CLI11's exceptions end.
    try {
        auto words = translate_bench_arguments({arguments + 1, arguments + argument_count});
        std::ranges::reverse(words);  // CLI11 takes them from the back
        program.parse(std::move(words));
    } catch (const CLI::Success& wish) {  // --help or --version
        std::ostringstream text;
        const int code = program.exit(wish, text, text);
        return print(text.str()) ? code : static_cast<int>(ExitCode::failure);
    } catch (const CLI::ParseError& error) {
        return static_cast<int>(report(explain(program, error)));
    }
    if (!chosen) {
        print_note(program.help());
        return static_cast<int>(ExitCode::usage);
    }
    auto& devices = device::DeviceRegistry::instance();
    devices.set_self_test_program(own_program());
    devices.set_self_test_progress(show_self_test);
    return static_cast<int>(chosen());
}

}  // namespace exomesh::main
