#include "main/worker_command.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "main/catalogue.h"
#include "main/program.h"
#include "main/state_folder.h"
#include "main/terminal.h"
#include "main/worker_supervisor.h"
#include "platform/socket.h"
#include "runner/worker.h"
#include "runner/worker_address.h"

namespace exomesh::main {

namespace {

constexpr std::chrono::milliseconds interrupt_poll{50};

struct WorkerFlags {
    std::string listen = ":4710";
    std::vector<std::string> allowed;
    std::vector<std::string> models;
    bool is_once = false;
    bool has_new_identity = false;
    int socket = -1;  // of the process that supervises this one
};

struct ListenAddress {
    std::string host;
    std::uint16_t port = 0;
};

Result<ListenAddress> parse_listen(const std::string& text) {
    ListenAddress out;
    const std::size_t colon = text.rfind(':');
    const char* const end = text.data() + text.size();
    const char* const begin = text.data() + (colon == std::string::npos ? 0 : colon + 1);
    const auto [after, error] = std::from_chars(begin, end, out.port);
    if (error != std::errc() || after != end || begin == end) {
        return fail(ErrorCode::invalid_argument, "'" + text + "' is no address to listen at.",
                    "Use HOST:PORT, or :PORT for all addresses.");
    }
    if (colon != std::string::npos) out.host = text.substr(0, colon);
    if (out.host.starts_with('[') && out.host.ends_with(']')) {
        out.host = out.host.substr(1, out.host.size() - 2);
    }
    return out;
}

// Where others find this device; the name is a guess that people can correct.
std::string reachable_host(const WorkerFlags& flags) {
    const auto address = parse_listen(flags.listen);
    if (address && !address->host.empty()) return address->host;
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "HOST";
}

// For the person who started it; the address is on stdout.
std::string welcome(const WorkerFlags& flags, std::uint16_t port, const net::PeerId& peer_id) {
    const std::string host = reachable_host(flags);
    return "On the head, add to run, chat, up or bench:\n  --peers " +
           runner::address_text(host, port, peer_id) + "\n(if " + host +
           " is not how it reaches this device, put an address in its place)\n" +
           "Ctrl-C takes this device back. Waiting for a head.\n";
}

// The thread that waits for the device cannot be ended, so that the process has to.
void end_hung(const WorkerFlags& flags, const Error& error) {
    if (flags.is_once) {
        report(error);
    } else {
        print_event("the session ended: " + error.text());
    }
    ::_exit(static_cast<int>(exit_code_of(error.code)));
}

Result<runner::WorkerOptions> worker_options(const WorkerFlags& flags) {
    EXO_TRY_ASSIGN(ListenAddress address, parse_listen(flags.listen));
    EXO_TRY_ASSIGN(net::Identity identity,
                   flags.has_new_identity ? net::Identity::generate() : kept_identity());
    if (flags.allowed.empty()) {
        return fail(ErrorCode::invalid_argument, "nobody is allowed to use this worker.",
                    "Name the head with --allow PEERID; `exomesh worker --show-identity` on its "
                    "device prints it.");
    }
    std::vector<net::PeerId> heads;
    for (const std::string& text : flags.allowed) {
        EXO_TRY_ASSIGN(net::PeerId head, net::PeerId::parse(text));
        heads.push_back(std::move(head));
    }
    std::vector<std::string> places = flags.models;
    if (places.empty()) places = model_folders();
    for (const std::string& place : flags.models) {
        std::error_code ignored;
        if (!std::filesystem::exists(place, ignored)) {
            return fail(ErrorCode::not_found, "there is no '" + place + "'.",
                        "--model wants a GGUF file, or a folder of them.");
        }
    }
    return runner::WorkerOptions{
        .identity = std::move(identity),
        .allowed_heads = std::move(heads),
        .host = std::move(address.host),
        .port = address.port,
        .listening_descriptor = flags.socket,
        .model_places = std::move(places),
        // Whoever started a worker for one session sees its errors alone.
        .on_event =
            [is_quiet = flags.is_once](const std::string& text) {
                if (!is_quiet) print_event(text);
            },
        .on_hang = [flags](const Error& error) { end_hung(flags, error); }};
}

// Serves heads until stop().
ExitCode serve(runner::Worker& worker, const WorkerFlags& flags) {
    while (true) {
        const auto served = worker.serve_one();
        if (!served && served.error().code == ErrorCode::cancelled) return ExitCode::success;
        if (flags.is_once) return served ? ExitCode::success : report(served.error());
        if (!served) print_event("the session ended: " + served.error().text());
        print_note("waiting for a head\n");
    }
}

ExitCode work(const WorkerFlags& flags, runner::WorkerOptions options) {
    auto worker = runner::Worker::create(std::move(options));
    if (!worker) return report(worker.error());
    // Whoever reads the address may send a signal at once.
    const InterruptScope interrupt;
    if (!print(runner::announcement(reachable_host(flags), worker->port(), worker->peer_id()) +
               "\n")) {
        return ExitCode::failure;
    }
    const bool is_supervised = flags.socket >= 0;
    if (!flags.is_once && !is_supervised)
        print_note(welcome(flags, worker->port(), worker->peer_id()));
    std::atomic<bool> has_ended = false;
    ExitCode code = ExitCode::success;
    std::thread thread([&] {
        code = serve(*worker, flags);
        has_ended = true;
    });
    // A signal handler may not wake a condition variable.
    while (!has_ended && interrupt.count() == 0) std::this_thread::sleep_for(interrupt_poll);
    worker->stop();
    thread.join();
    if (interrupt.count() > 0 && !flags.is_once) print_note("stopped\n");
    return code;
}

// The command line of the process that does the work.
std::vector<std::string> runner_command(const WorkerFlags& flags, int socket) {
    std::vector<std::string> words = {own_program(), "worker", "--socket=" + std::to_string(socket),
                                      "--listen=" + flags.listen};
    for (const std::string& head : flags.allowed) words.push_back("--allow=" + head);
    for (const std::string& place : flags.models) words.push_back("--model=" + place);
    return words;
}

// Listens, and has another process do the rest: a driver may end that one.
ExitCode supervise_worker(const WorkerFlags& flags, const runner::WorkerOptions& options) {
    const auto socket = platform::ListeningSocket::listen(options.host, options.port);
    if (!socket) return report(socket.error());
    const net::PeerId& peer_id = options.identity.peer_id();
    const auto on_ready = [&] {
        if (!print(runner::announcement(reachable_host(flags), socket->port(), peer_id) + "\n"))
            return false;
        print_note(welcome(flags, socket->port(), peer_id));
        return true;
    };
    return supervise({.arguments = runner_command(flags, socket->descriptor()),
                      .socket = socket->descriptor(),
                      .on_ready = on_ready});
}

ExitCode lend(const WorkerFlags& flags) {
    auto options = worker_options(flags);
    if (!options) return report(options.error());
    const bool is_one_process = flags.is_once || flags.has_new_identity || flags.socket >= 0;
    return is_one_process ? work(flags, *std::move(options)) : supervise_worker(flags, *options);
}

ExitCode show_identity() {
    const auto identity = kept_identity();
    if (!identity) return report(identity.error());
    return print(identity->peer_id().text() + "\n") ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void add_worker_command(CLI::App& program, ChosenCommand& chosen) {
    struct Options {
        WorkerFlags flags;
        bool shows_identity = false;
    };
    const auto options = std::make_shared<Options>();
    CLI::App& command = *program.add_subcommand(
        "worker", "lend this device to a head that runs a model on several");
    command.footer(
        std::string("On the head, `exomesh worker --show-identity` prints the PEERID to allow "
                    "here; what this command\nprints goes into the head's --peers. "
                    "docs/cluster.md shows it step by step.\n\n") +
        exit_code_help);
    command.add_option("--listen", options->flags.listen, "HOST:PORT, or :PORT for all addresses")
        ->capture_default_str();
    command
        .add_option("--allow", options->flags.allowed,
                    "peer ids of the heads that may use this device (comma-separated)")
        ->delimiter(',');
    command
        .add_option("--model,-m", options->flags.models,
                    "where models lie here, files or folders, if not at the head's path (default: "
                    "the folders of `exomesh models`)")
        ->allow_extra_args(false);
    command.add_flag("--show-identity", options->shows_identity,
                     "print this device's peer id and end");
    command.add_flag("--once", options->flags.is_once, "end after the first head");
    command
        .add_flag("--new-identity", options->flags.has_new_identity, "use a key that is not kept")
        ->group("");
    command.add_option("--socket", options->flags.socket, "listen at this open socket")->group("");
    choose_on_parse(command, chosen, options, [](const Options& chosen_options) {
        return chosen_options.shows_identity ? show_identity() : lend(chosen_options.flags);
    });
}

}  // namespace exomesh::main
