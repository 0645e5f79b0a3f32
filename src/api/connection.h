// One connection: reads requests, has them answered, writes the answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "api/access.h"
#include "api/backend.h"
#include "api/limits.h"
#include "api/metrics.h"

namespace exomesh::api {

struct OpenConnection {
    boost::beast::tcp_stream stream;
    bool answering = false;  // between a request's header and its answer's end
};

// What all connections of a server share. Used on its I/O thread only.
struct ServerContext {
    ServerContext(std::shared_ptr<boost::asio::io_context> io_context, Backend& answering_backend)
        : io(std::move(io_context)), backend(&answering_backend) {}

    std::shared_ptr<boost::asio::io_context> io;
    Backend* backend;
    AccessPolicy access;
    Limits limits;
    HttpCounters counters;
    std::set<OpenConnection*> open;
    std::size_t body_bytes_reserved = 0;
    bool stopping = false;
    std::string id_prefix;  // random, of this server's answers
    std::uint64_t id_count = 0;
    // Parses bodies, renders templates and encodes prompts, so that a long prompt stalls no stream.
    boost::asio::thread_pool workers{1};
};

using RequestParser = boost::beast::http::request_parser<boost::beast::http::string_body>;

// Sets the limits every request is parsed with. Also what the fuzzer parses with.
void set_limits(RequestParser& parser, const Limits& limits);

// Serves until the client or the server closes. `context` must outlive it.
[[nodiscard]] boost::asio::awaitable<void> serve_connection(boost::asio::ip::tcp::socket socket,
                                                            ServerContext& context);

}  // namespace exomesh::api
