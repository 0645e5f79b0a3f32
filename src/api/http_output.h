// Writing HTTP/1.1: heads, whole replies, and event streams.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include "api/reply.h"

namespace exomesh::api {

// What of the request decides how its answer is written.
struct ReplyStyle {
    bool head_only = false;  // HEAD: no body
    bool keep_alive = false;
    bool chunked = true;  // false for HTTP/1.0, which knows no chunks
    std::vector<std::pair<std::string, std::string>> extra_headers = {};
};

// "HTTP/1.1 200 OK\r\n...\r\n\r\n" with `framing` ("Content-Length: 5") among the headers.
[[nodiscard]] std::string head_text(unsigned status, std::string_view content_type,
                                    std::string_view framing, const ReplyStyle& style);
[[nodiscard]] std::string reply_text(const Reply& reply, const ReplyStyle& style);

// "data: {...}\n\n"
[[nodiscard]] std::string event_text(const Json& json);

// Writes all of it; false where the client is gone or reads nothing for `patience`. The stream is
// closed after a false.
[[nodiscard]] boost::asio::awaitable<bool> write_all(boost::beast::tcp_stream& stream,
                                                     std::string_view text,
                                                     std::chrono::milliseconds patience);

// Server-sent events (WHATWG HTML, section 9.2) as the body of one reply. Every method: false where
// the client is gone.
class EventStream {
  public:
    EventStream(boost::beast::tcp_stream& stream, ReplyStyle style,
                std::chrono::milliseconds patience);
    [[nodiscard]] boost::asio::awaitable<bool> open();
    // Whole events; one call is one chunk.
    [[nodiscard]] boost::asio::awaitable<bool> send(std::string events);
    [[nodiscard]] boost::asio::awaitable<bool> finish();

  private:
    boost::beast::tcp_stream* stream_;
    ReplyStyle style_;
    std::chrono::milliseconds patience_;
};

}  // namespace exomesh::api
