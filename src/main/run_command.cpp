#include "main/run_command.h"

#include <memory>
#include <string>
#include <vector>

#include "engine/conversation.h"
#include "main/engine_flags.h"
#include "main/generate.h"
#include "main/terminal.h"
#include "model/chat_template.h"
#include "platform/clock.h"

namespace exomesh::main {

namespace {

struct RunOptions {
    EngineFlags engine;
    SamplingFlags sampling;
    const CLI::Option* prompt = nullptr;  // its results are the words of the command line
    std::string system;
    bool raw = false;
    bool json = false;
};

Result<std::string> prompt_text(const RunOptions& options) {
    const std::vector<std::string>& words = options.prompt->results();
    const bool from_input = words.empty() || words == std::vector<std::string>{"-"};
    std::string text;
    if (from_input) {
        if (words.empty() && is_terminal(Stream::input)) {
            return fail(ErrorCode::invalid_argument, "there is no prompt.",
                        "Give one behind the model, pipe one in, or talk with `exomesh chat`.");
        }
        EXO_TRY_ASSIGN(text, read_all_input());
        while (!options.raw && text.ends_with('\n')) text.pop_back();
    }
    for (const std::string& word : words) {
        if (!from_input) text += (text.empty() ? "" : " ") + word;
    }
    if (text.empty()) {
        return fail(ErrorCode::invalid_argument, "the prompt is empty.", "Give some text.");
    }
    return text;
}

// A model without a chat template was made to complete text: one prompt is such a text. With a
// system message it is meant as a conversation.
bool completes_text(const engine::Engine& engine, const RunOptions& options) {
    return engine.chat_template() == nullptr && engine.chat_template_error() == nullptr &&
           options.system.empty();
}

Result<engine::GenerateRequest> build_request(const engine::Engine& engine,
                                              const RunOptions& options,
                                              const std::string& prompt) {
    engine::GenerateRequest request = make_request(options.sampling);
    if (options.raw || completes_text(engine, options)) {
        request.prompt = engine.tokenizer().encode(prompt, model::SpecialTokens::parsed,
                                                   model::SequenceStart::as_model_wants);
        return request;
    }
    std::vector<engine::Message> messages;
    if (!options.system.empty()) messages.push_back({"system", options.system});
    messages.push_back({"user", prompt});
    engine::ConversationOptions conversation;
    conversation.now_s = platform::unix_s();
    EXO_TRY_ASSIGN(auto encoded,
                   engine::ConversationEncoder(engine).encode(messages, conversation));
    request.prompt = std::move(encoded.tokens);
    request.stop.insert(request.stop.end(), encoded.stop.begin(), encoded.stop.end());
    return request;
}

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
    const auto prompt = prompt_text(options);
    if (!prompt) return report(prompt.error());
    const auto engine = open_engine(options.engine);
    if (!engine) return report(engine.error());
    auto request = build_request(**engine, options, *prompt);
    if (!request) return report(request.error());

    if (!options.raw && completes_text(**engine, options)) {
        print_note(styled(Style::faint,
                          "This model has no chat template: it goes on with the prompt instead of "
                          "answering it, as with --raw.") +
                   "\n");
    }
    const InterruptScope interrupt;
    const auto sink = [&](std::string_view text) { return options.json || print(text); };
    const auto answer = generate(**engine, std::move(*request), interrupt, sink);
    if (!answer) return report(answer.error());

    const std::string end =
        options.json ? answer_json(**engine, options, *answer)
                               .dump(2, ' ', false, model::Json::error_handler_t::replace) +
                           "\n"
                     : "\n";
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
    // CLI11 takes words like "[a, b]" and "{}" for lists and rewrites them, but not the raw results
    // of an option that never has enough words.
    constexpr int any_count = CLI::detail::expected_max_vector_size;
    options->prompt =
        command.add_option("PROMPT", "the prompt; '-' or nothing: read it from stdin")
            ->expected(any_count, any_count)
            ->take_all();
    command.add_option("--system", options->system, "the system message");
    command.add_flag("--raw", options->raw,
                     "complete the prompt as it is, without a chat template");
    command.add_flag("--json", options->json,
                     "print one JSON object with the answer and its figures");
    add_sampling_flags(command, options->sampling);
    add_engine_flags(command, options->engine);
    choose_on_parse(command, chosen, options, run);
}

}  // namespace exomesh::main
