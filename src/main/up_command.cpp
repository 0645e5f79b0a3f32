#include "main/up_command.h"

#include <format>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/engine_backend.h"
#include "api/server.h"
#include "main/engine_flags.h"
#include "main/terminal.h"
#include "model/printable.h"
#include "platform/clock.h"

namespace exomesh::main {

namespace {

struct UpOptions {
    EngineFlags engine;
    api::ServerOptions server;
    std::string model_id;
};

std::string welcome(const api::Server& server, const engine::Engine& engine,
                    const std::string& model_id, bool key_wanted) {
    const engine::EngineInformation information = engine.information();
    const std::string url = server.url();
    const std::string key = key_wanted ? " -H 'Authorization: Bearer YOUR_KEY'" : "";
    return std::format(
        "{} is ready on {} ({} slots of {} tokens): {}\n\n"
        "  curl {}/v1/chat/completions{} -H 'Content-Type: application/json' \\\n"
        "    -d '{{\"model\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": "
        "\"Hello!\"}}]}}'\n\n"
        "Ctrl-C lets the answers under way end and stops.\n",
        model_id, model::printable(information.device), information.slot_count,
        information.context_length, url, url, key, model_id);
}

// Serves until Ctrl-C or SIGTERM, and then until the answers under way are done.
void serve(api::Server& server, std::unique_ptr<InterruptScope> interrupt) {
    std::thread server_thread([&server] { server.run(); });
    interrupt->wait();
    interrupt.reset();  // from here a second Ctrl-C ends the program at once
    print_note("stopping: letting the answers under way end\n");
    server.stop();
    server_thread.join();
}

ExitCode up(const UpOptions& options) {
    // First what takes no time: a large model loads for minutes.
    auto listener = api::Listener::open(options.server);
    if (!listener) return report(listener.error());
    EngineFlags flags = options.engine;
    flags.cluster.is_head_idle = true;  // a driver that ends a process is not to end the server
    auto engine_options = engine_options_of(flags);
    if (!engine_options) return report(engine_options.error());
    engine_options->on_device_event = print_event;
    const auto engine = load_engine(flags, *std::move(engine_options));
    if (!engine) return report(engine.error());
    const bool is_name = options.engine.model.find('/') == std::string::npos &&
                         !options.engine.model.ends_with(".gguf");
    const std::string id = !options.model_id.empty() ? options.model_id
                           : is_name                 ? options.engine.model
                                                     : "";
    api::EngineBackend backend(**engine, id, platform::unix_s());
    const auto server = api::Server::create(options.server, *std::move(listener), backend);
    // Whoever reads the address may send a signal at once.
    auto interrupt = std::make_unique<InterruptScope>();
    // The address goes to stdout for scripts, the explanation to people.
    if (!print(server->url() + "\n")) return ExitCode::failure;
    print_note(welcome(*server, **engine, backend.model().id, !options.server.api_key.empty()));
    serve(*server, std::move(interrupt));
    return ExitCode::success;
}

// As browsers send it, apps' and extensions' too (tauri://localhost): any scheme, never a path.
bool is_origin(const std::string& text) {
    const std::size_t mark = text.find("://");
    return mark != 0 && mark != std::string::npos && mark + 3 < text.size() &&
           text.find('/', mark + 3) == std::string::npos;
}

}  // namespace

void add_up_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<UpOptions>();
    CLI::App& command = *program.add_subcommand("up", "serve a model over HTTP (OpenAI's API)");
    command
        .add_option("--model,-m,MODEL", options->engine.model,
                    "a name of `exomesh models`, or a GGUF file")
        ->required();
    command.add_option("--host", options->server.address, "the address to listen on")
        ->capture_default_str();
    command.add_option("--port,-p", options->server.port, "the port; 0: any free one")
        ->capture_default_str();
    command
        .add_option("--api-key", options->server.api_key,
                    "what clients must send as a bearer token; needed beyond loopback")
        ->envname("EXOMESH_API_KEY");
    command
        .add_option("--allow-origin", options->server.allowed_origins,
                    "a web page's origin that may use the API (repeatable)")
        ->check([](const std::string& text) {
            return text == "*" || is_origin(text)
                       ? ""
                       : "'" + text + "' is no origin: use https://HOST without a path, or *";
        })
        ->allow_extra_args(false);
    command.add_option("--model-id", options->model_id, "how clients call the model");
    command
        .add_option("--slots", options->engine.options.slot_count,
                    "requests computed at the same time")
        ->check(CLI::Range(1U, 256U))
        ->capture_default_str();
    command
        .add_option("--queue", options->engine.options.queue_length_max,
                    "requests that may wait; more are refused with status 429")
        ->capture_default_str();
    add_engine_flags(command, options->engine);
    choose_on_parse(command, chosen, options, up);
}

}  // namespace exomesh::main
