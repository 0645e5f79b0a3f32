#include "api/server.h"

#include <algorithm>
#include <format>
#include <random>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "api/connection.h"
#include "api/http_output.h"

namespace exomesh::api {

namespace asio = boost::asio;
using asio::awaitable;
using asio::ip::tcp;

namespace {

constexpr int backlog = 128;
constexpr std::chrono::milliseconds accept_pause{100};  // after a failed accept
constexpr std::chrono::milliseconds stop_poll_interval{20};
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

Result<tcp::endpoint> endpoint_of(const ServerOptions& options) {
    boost::system::error_code error;
    const auto address = asio::ip::make_address(
        options.address == "localhost" ? "127.0.0.1" : options.address, error);
    if (error) {
        return fail(ErrorCode::invalid_argument,
                    std::format("'{}' is no IP address.", options.address),
                    "Use 127.0.0.1 for this machine only, or 0.0.0.0 for every network it is in.");
    }
    return tcp::endpoint(address, options.port);
}

Result<> check_key(const ServerOptions& options, const tcp::endpoint& endpoint) {
    if (options.api_key.empty() && !endpoint.address().is_loopback()) {
        return fail(
            ErrorCode::invalid_argument,
            std::format("serving on {} without an API key would let everyone in that network "
                        "use this machine.",
                        options.address),
            "Set an API key, or serve on 127.0.0.1.");
    }
    const bool printable = std::ranges::all_of(
        options.api_key, [](char character) { return character > ' ' && character < '\x7f'; });
    if (!printable) {
        return fail(ErrorCode::invalid_argument, "the API key has a space or a special character.",
                    "Use letters, digits and punctuation.");
    }
    return {};
}

Result<tcp::acceptor> listen(asio::io_context& io, const tcp::endpoint& endpoint) {
    tcp::acceptor acceptor(io);
    boost::system::error_code error;
    const auto refused = [&] {
        const std::string place =
            std::format("{} port {}", endpoint.address().to_string(), endpoint.port());
        if (error == asio::error::address_in_use) {
            return fail(ErrorCode::unavailable, std::format("{} is in use.", place),
                        std::format("Another exomesh or another server holds it ('ss -ltnp sport = "
                                    ":{}' tells which): stop that one, or choose another port.",
                                    endpoint.port()));
        }
        if (error == asio::error::access_denied) {
            return fail(ErrorCode::io, std::format("no permission to serve on {}.", place),
                        "Ports below 1024 belong to the administrator: choose a higher one.");
        }
        return fail(ErrorCode::io, std::format("cannot serve on {}: {}.", place, error.message()),
                    "Is that an address of this machine?");
    };
    if (acceptor.open(endpoint.protocol(), error)) return refused();
    if (acceptor.set_option(tcp::acceptor::reuse_address(true), error)) return refused();
    if (acceptor.bind(endpoint, error)) return refused();
    if (acceptor.listen(backlog, error)) return refused();
    return acceptor;
}

std::string random_prefix() {
    std::random_device device;
    return std::format("{:08x}{:08x}", device(), device());
}

// Anything but a cancelled or broken connection is a bug and ends the program.
void on_coroutine_end(const std::exception_ptr& exception) {
    if (!exception) return;
    try {
        std::rethrow_exception(exception);
    } catch (const boost::system::system_error&) {  // NOLINT(bugprone-empty-catch)
    }
}

}  // namespace

struct Listener::State {
    std::shared_ptr<asio::io_context> io;
    tcp::acceptor acceptor;
    tcp::endpoint endpoint;  // with the port that was taken
};

struct Server::State {
    State(Listener::State listening, Backend& backend)
        : io(std::move(listening.io)),
          acceptor(std::move(listening.acceptor)),
          endpoint(std::move(listening.endpoint)),
          context(io, backend) {}

    awaitable<void> accept_connections();
    void refuse(tcp::socket socket);
    awaitable<void> wind_down();

    std::shared_ptr<asio::io_context> io;
    tcp::acceptor acceptor;
    tcp::endpoint endpoint;
    ServerContext context;
};

awaitable<void> Server::State::accept_connections() {
    while (!context.stopping) {
        auto [error, socket] = co_await acceptor.async_accept(as_result);
        if (context.stopping) co_return;
        if (error) {
            // Out of descriptors, most likely: others have to close first.
            asio::steady_timer pause(*io, accept_pause);
            co_await pause.async_wait(as_result);
            continue;
        }
        if (context.open.size() >= context.limits.connections_max) {
            refuse(std::move(socket));
            continue;
        }
        boost::system::error_code ignored;
        (void)socket.set_option(tcp::no_delay(true), ignored);
        asio::co_spawn(*io, serve_connection(std::move(socket), context), on_coroutine_end);
    }
}

// The few bytes fit into the socket's own buffer, so that nobody waits for this client.
void Server::State::refuse(tcp::socket socket) {
    ++context.counters.connections_refused_total;
    ++context.counters.responses_total[503];
    const std::string text = reply_text(
        error_reply({503, std::format("{} connections are open, which is the limit; try again.",
                                      context.open.size())}),
        ReplyStyle{});
    boost::system::error_code ignored;
    (void)socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    (void)socket.shutdown(tcp::socket::shutdown_send, ignored);
}

awaitable<void> Server::State::wind_down() {
    for (OpenConnection* connection : context.open) {
        if (!connection->answering) connection->stream.close();
    }
    asio::steady_timer poll(*io);
    auto left = context.limits.shutdown_grace;
    for (; !context.open.empty() && left.count() > 0; left -= stop_poll_interval) {
        poll.expires_after(stop_poll_interval);
        co_await poll.async_wait(as_result);
    }
    for (OpenConnection* connection : context.open) connection->stream.close();
}

Listener::Listener(std::unique_ptr<State> state) : state_(std::move(state)) {}
Listener::~Listener() = default;
Listener::Listener(Listener&&) noexcept = default;
Listener& Listener::operator=(Listener&&) noexcept = default;

Result<Listener> Listener::open(const ServerOptions& options) {
    EXO_TRY_ASSIGN(const tcp::endpoint wanted, endpoint_of(options));
    EXO_TRY(check_key(options, wanted));
    auto io = std::make_shared<asio::io_context>();
    EXO_TRY_ASSIGN(tcp::acceptor acceptor, listen(*io, wanted));
    boost::system::error_code error;
    const auto endpoint = acceptor.local_endpoint(error);
    if (error) return fail(ErrorCode::io, "cannot tell the port: " + error.message() + ".");
    return Listener(std::make_unique<State>(std::move(io), std::move(acceptor), endpoint));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(const ServerOptions& options, Backend& backend) {
    EXO_TRY_ASSIGN(Listener listener, Listener::open(options));
    return create(options, std::move(listener), backend);
}

std::unique_ptr<Server> Server::create(const ServerOptions& options, Listener listener,
                                       Backend& backend) {
    auto state = std::make_unique<State>(std::move(*listener.state_), backend);
    state->context.access = {.api_key = options.api_key,
                             .allowed_origins = options.allowed_origins};
    state->context.limits = options.limits;
    state->context.id_prefix = random_prefix();
    return std::unique_ptr<Server>(new Server(std::move(state)));
}

std::uint16_t Server::port() const {
    return state_->endpoint.port();
}

std::string Server::url() const {
    const auto address = state_->endpoint.address();
    const std::string host =
        address.is_v6() ? std::format("[{}]", address.to_string()) : address.to_string();
    return std::format("http://{}:{}", host, port());
}

void Server::run() {
    asio::co_spawn(*state_->io, state_->accept_connections(), on_coroutine_end);
    state_->io->run();
}

void Server::stop() {
    asio::post(*state_->io, [state = state_.get()] {
        if (std::exchange(state->context.stopping, true)) return;
        boost::system::error_code ignored;
        (void)state->acceptor.close(ignored);
        asio::co_spawn(*state->io, state->wind_down(), on_coroutine_end);
    });
}

}  // namespace exomesh::api
