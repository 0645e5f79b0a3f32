#include "main/prompt_flags.h"

#include <utility>
#include <vector>

#include "engine/conversation.h"
#include "main/terminal.h"
#include "platform/clock.h"

namespace exomesh::main {

void add_prompt_flags(CLI::App& command, PromptFlags& flags) {
    // CLI11 takes words like "[a, b]" and "{}" for lists and rewrites them, but not the raw results
    // of an option that never has enough words.
    constexpr int any_count = CLI::detail::expected_max_vector_size;
    flags.prompt = command.add_option("PROMPT", "the prompt; '-' or nothing: read it from stdin")
                       ->expected(any_count, any_count)
                       ->take_all();
    command.add_option("--system", flags.system, "the system message");
    command.add_flag("--raw", flags.raw, "complete the prompt as it is, without a chat template");
}

Result<std::string> prompt_text(const PromptFlags& flags) {
    const std::vector<std::string>& words = flags.prompt->results();
    const bool from_input = words.empty() || words == std::vector<std::string>{"-"};
    std::string text;
    if (from_input) {
        if (words.empty() && is_terminal(Stream::input)) {
            return fail(ErrorCode::invalid_argument, "there is no prompt.",
                        "Give one behind the model, pipe one in, or talk with `exomesh chat`.");
        }
        EXO_TRY_ASSIGN(text, read_all_input());
        while (!flags.raw && text.ends_with('\n')) text.pop_back();
    }
    for (const std::string& word : words) {
        if (!from_input) text += (text.empty() ? "" : " ") + word;
    }
    if (text.empty()) {
        return fail(ErrorCode::invalid_argument, "the prompt is empty.", "Give some text.");
    }
    return text;
}

namespace {

// A model without a chat template was made to complete text: one prompt is such a text. With a
// system message it is meant as a conversation.
bool completes_text(const engine::Engine& engine, const PromptFlags& flags) {
    return engine.chat_template() == nullptr && engine.chat_template_error() == nullptr &&
           flags.system.empty();
}

}  // namespace

Result<engine::GenerateRequest> build_request(const engine::Engine& engine,
                                              const PromptFlags& flags,
                                              const SamplingFlags& sampling,
                                              const std::string& prompt) {
    engine::GenerateRequest request = make_request(sampling);
    const bool is_text = completes_text(engine, flags);
    if (is_text && !flags.raw) {
        print_note(styled(Style::faint,
                          "This model has no chat template: it goes on with the prompt instead of "
                          "answering it, as with --raw.") +
                   "\n");
    }
    if (flags.raw || is_text) {
        request.prompt = engine.tokenizer().encode(prompt, model::SpecialTokens::parsed,
                                                   model::SequenceStart::as_model_wants);
        return request;
    }
    std::vector<engine::Message> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", prompt});
    engine::ConversationOptions conversation;
    conversation.now_s = platform::unix_s();
    EXO_TRY_ASSIGN(auto encoded,
                   engine::ConversationEncoder(engine).encode(messages, conversation));
    request.prompt = std::move(encoded.tokens);
    request.stop.insert(request.stop.end(), encoded.stop.begin(), encoded.stop.end());
    return request;
}

}  // namespace exomesh::main
