#include "main/chat_command.h"

#include <signal.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
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

struct ChatOptions {
    EngineFlags engine;
    SamplingFlags sampling;
    std::string system;
};

constexpr const char* chat_help =
    "/system TEXT  set the system message and start over (no TEXT: without one)\n"
    "/clear        forget the conversation\n"
    "/save FILE    write the conversation as JSON\n"
    "/quit         leave (so does Ctrl-D, or Ctrl-C twice)\n"
    "//TEXT        say /TEXT\n"
    "Ctrl-C        stop the answer\n";

// One conversation: what was said, and the lines that steer it.
class Chat {
  public:
    Chat(engine::Engine& engine, const ChatOptions& options)
        : engine_(engine), encoder_(engine), options_(options), system_(options.system) {}

    ExitCode run();

  private:
    enum class Next { go_on, leave };

    Next command(const std::string& line);
    void save(const std::string& path) const;
    // An error leaves the conversation as it was before `text`.
    Result<> answer(const std::string& text);
    void start_over() { messages_.clear(); }
    [[nodiscard]] std::vector<engine::Message> whole_conversation() const;

    engine::Engine& engine_;
    engine::ConversationEncoder encoder_;
    const ChatOptions& options_;
    std::string system_;
    std::vector<engine::Message> messages_;
    InterruptScope interrupt_;
    bool interactive_ = is_terminal(Stream::input) && is_terminal(Stream::output);
};

std::vector<engine::Message> Chat::whole_conversation() const {
    std::vector<engine::Message> messages;
    if (!system_.empty()) messages.push_back({"system", system_});
    messages.insert(messages.end(), messages_.begin(), messages_.end());
    return messages;
}

void Chat::save(const std::string& path) const {
    model::Json json = model::Json::array();
    for (const engine::Message& message : whole_conversation()) {
        json.push_back({{"role", message.role}, {"content", message.content}});
    }
    errno = 0;
    std::ofstream file(path);
    file << json.dump(2, ' ', false, model::Json::error_handler_t::replace) << '\n';
    file.close();
    const std::string reason = errno == 0 ? "" : std::string(": ") + std::strerror(errno);
    print_note(file ? "saved to " + path + "\n"
                    : "cannot write '" + path + "'" + reason + ". /save it to another FILE.\n");
}

Chat::Next Chat::command(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
    if (name == "/quit" || name == "/exit" || name == "/bye") return Next::leave;
    if (name == "/clear") {
        start_over();
        print_note("the conversation is forgotten\n");
    } else if (name == "/system") {
        system_ = argument;
        start_over();
        print_note(system_.empty() ? "no system message any more\n" : "system message set\n");
    } else if (name == "/save" && !argument.empty()) {
        save(argument);
    } else {
        if (name != "/help") print_note("unknown command '" + line + "'\n");
        print_note(chat_help);
    }
    return Next::go_on;
}

Result<> Chat::answer(const std::string& text) {
    auto messages = whole_conversation();
    messages.push_back({"user", text});
    engine::ConversationOptions conversation;
    conversation.now_s = platform::unix_s();
    EXO_TRY_ASSIGN(auto encoded, encoder_.encode(messages, conversation));

    engine::GenerateRequest request = make_request(options_.sampling);
    const std::uint32_t context_length = engine_.information().context_length;
    if (encoded.tokens.size() >= context_length) {
        return fail(ErrorCode::invalid_argument,
                    std::format("with this message the conversation has {} tokens, and the context "
                                "holds {} with the answer.",
                                encoded.tokens.size(), context_length),
                    "/clear starts a new one, or say it shorter; --context makes more room.");
    }
    request.prompt = std::move(encoded.tokens);
    request.stop.insert(request.stop.end(), encoded.stop.begin(), encoded.stop.end());
    EXO_TRY_ASSIGN(const Answer answer, generate(engine_, std::move(request), interrupt_,
                                                 [](auto t) { return print(t); }));
    if (!print("\n")) return fail(ErrorCode::io, "the answer was lost.");
    if (interactive_) {
        print_note(styled(Style::faint, "[" + speed_line(answer.usage) + "]") + "\n");
    }
    messages_.push_back({"user", text});
    messages_.push_back({"assistant", answer.text});
    return {};
}

ExitCode Chat::run() {
    LineReader reader;
    ExitCode code = ExitCode::success;
    bool interrupted_at_prompt = false;
    while (true) {
        if (interactive_) print_note(styled(Style::strong, "> "));
        interrupt_.reset();
        LineReader::Line line = reader.next();
        if (line.status == LineReader::Status::end) return code;
        if (line.status == LineReader::Status::interrupted) {
            const int number = interrupt_.signal_number();
            if (interrupted_at_prompt || !interactive_ || number == SIGTERM) {
                return exit_code_of_signal(number);
            }
            interrupted_at_prompt = true;
            print_note("\nOnce more, or /quit, to leave.\n");
            continue;
        }
        interrupted_at_prompt = false;
        if (line.text.find_first_not_of(" \t\r") == std::string::npos) continue;
        if (line.text.starts_with("//")) {
            line.text.erase(0, 1);
        } else if (line.text.starts_with('/')) {
            if (command(line.text) == Next::leave) return code;
            continue;
        }
        if (const auto answered = answer(line.text); !answered) {
            code = report(answered.error());
            if (answered.error().code == ErrorCode::io) return code;
        }
        if (interrupt_.count() > 0 && !interactive_) {
            return exit_code_of_signal(interrupt_.signal_number());
        }
    }
}

ExitCode chat(const ChatOptions& options) {
    const auto engine = open_engine(options.engine);
    if (!engine) return report(engine.error());
    if (const Error* error = (*engine)->chat_template_error()) return report(*error);
    if ((*engine)->chat_template() == nullptr) {
        print_note(
            "This model has no chat template: it was made to complete text, not to talk. The "
            "conversation is given to it as plain \"User:\" and \"Assistant:\" lines.\n");
    }
    if (is_terminal(Stream::input)) print_note("/help lists what you can do; /quit leaves.\n");
    return Chat(**engine, options).run();
}

}  // namespace

void add_chat_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<ChatOptions>();
    options->engine.options.slot_count = 1;
    CLI::App& command = *program.add_subcommand("chat", "talk with a model");
    command
        .add_option("MODEL", options->engine.model, "a name of `exomesh models`, or a GGUF file")
        ->required();
    command.add_option("--system", options->system, "the system message");
    add_sampling_flags(command, options->sampling);
    add_engine_flags(command, options->engine);
    command.footer(std::string("In the conversation:\n") + chat_help + "\n\n" + exit_code_help);
    choose_on_parse(command, chosen, options, chat);
}

}  // namespace exomesh::main
