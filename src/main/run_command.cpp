#include "main/run_command.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "main/cluster_figures.h"
#include "main/engine_flags.h"
#include "main/generate.h"
#include "main/prompt_flags.h"
#include "main/terminal.h"
#include "model/chat_template.h"

namespace exomesh::main {

namespace {

struct RunOptions {
    EngineFlags engine;
    SamplingFlags sampling;
    PromptFlags prompt;
    bool json = false;
};

model::Json answer_json(const engine::Engine& engine, const RunOptions& options,
                        const Answer& answer) {
    const engine::Usage& usage = answer.usage;
    return {{"model", options.engine.model},
            {"device", engine.information().device},
            {"answer", answer.text},
            {"finish_reason", finish_name(answer.finish)},
            {"prompt_tokens", usage.prompt_tokens},
            {"completion_tokens", usage.completion_tokens},
            {"load_us", engine.information().load_us},
            {"prefill_us", usage.prefill_us},
            {"decode_us", usage.decode_us}};
}

ExitCode run(const RunOptions& options) {
    const auto prompt = prompt_text(options.prompt);
    if (!prompt) return report(prompt.error());
    // Written when the engine is closed.
    const auto record = std::make_shared<std::optional<runner::ClusterRecord>>();
    EngineFlags flags = options.engine;
    flags.cluster.on_record = [record](runner::ClusterRecord got) { *record = std::move(got); };
    auto engine = open_engine(flags);
    if (!engine) return report(engine.error());
    auto request = build_request(**engine, options.prompt, options.sampling, *prompt);
    if (!request) return report(request.error());

    const InterruptScope interrupt;
    const auto sink = [&](std::string_view text) { return options.json || print(text); };
    const auto answer = generate(**engine, std::move(*request), interrupt, sink);
    if (!answer) return report(answer.error());

    std::string end = "\n";
    if (options.json) {
        model::Json json = answer_json(**engine, options, *answer);
        engine->reset();
        if (*record) json["cluster"] = statistics_json((*record)->statistics);
        end = json.dump(2, ' ', false, model::Json::error_handler_t::replace) + "\n";
    }
    if (!print(end)) return ExitCode::failure;
    print_note(styled(Style::faint, "[" + speed_line(answer->usage) + "]") + "\n");
    if (interrupt.count() > 0) return exit_code_of_signal(interrupt.signal_number());
    return answer->finish == engine::FinishReason::cancelled ? ExitCode::failure
                                                             : ExitCode::success;
}

}  // namespace

void add_run_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<RunOptions>();
    options->engine.options.slot_count = 1;
    CLI::App& command = *program.add_subcommand("run", "answer one prompt");
    command
        .add_option("MODEL", options->engine.model, "a name of `exomesh models`, or a GGUF file")
        ->required();
    add_prompt_flags(command, options->prompt);
    command.add_flag("--json", options->json,
                     "print one JSON object with the answer and its figures");
    add_sampling_flags(command, options->sampling);
    add_engine_flags(command, options->engine);
    choose_on_parse(command, chosen, options, run);
}

}  // namespace exomesh::main
