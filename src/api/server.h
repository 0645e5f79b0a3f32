// The HTTP server: an OpenAI-compatible API over one backend. docs/api.md is its reference.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/backend.h"
#include "api/limits.h"
#include "base/result.h"

namespace exomesh::api {

inline constexpr std::uint16_t port_default = 52415;

struct ServerOptions {
    std::string address = "127.0.0.1";  // an IP address, or "localhost"
    std::uint16_t port = port_default;  // 0: any free one
    // Clients send it as "Authorization: Bearer KEY". Empty: none, allowed on loopback only.
    std::string api_key = {};
    std::vector<std::string> allowed_origins = {};  // web pages that may use the API; see access.h
    Limits limits = {};
};

// A port that is taken, and nothing more: connections queue until a Server serves them. For callers
// who want to know that they can serve before they load a model.
class Listener {
  public:
    // Errors: an address beyond loopback without an API key, an address that is none or is not this
    // machine's, a port in use.
    [[nodiscard]] static Result<Listener> open(const ServerOptions& options);
    ~Listener();
    Listener(Listener&&) noexcept;
    Listener& operator=(Listener&&) noexcept;

  private:
    friend class Server;
    struct State;
    explicit Listener(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Threads: one runs run(); stop() may be called from any. The backend must outlive the server.
class Server {
  public:
    // Listens when it returns (connections queue until run). Errors as those of Listener::open.
    [[nodiscard]] static Result<std::unique_ptr<Server>> create(const ServerOptions& options,
                                                                Backend& backend);
    // On a port that was taken with the same options.
    [[nodiscard]] static std::unique_ptr<Server> create(const ServerOptions& options,
                                                        Listener listener, Backend& backend);
    ~Server();  // after run has returned
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    [[nodiscard]] std::uint16_t port() const;
    // "http://127.0.0.1:52415"
    [[nodiscard]] std::string url() const;

    // Serves on the calling thread until stop().
    void run();

    // Takes no more connections, closes idle ones, lets answers under way end for `shutdown_grace`,
    // then cancels them; run returns after that.
    void stop();

  private:
    struct State;
    explicit Server(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace exomesh::api
