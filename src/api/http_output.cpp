#include "api/http_output.h"

#include <chrono>
#include <format>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/status.hpp>

#include "platform/clock.h"

namespace exomesh::api {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

// Written at once at most, so that the time limit is one of progress, not of the whole answer.
constexpr std::size_t write_bytes_max = 64 << 10;

std::string date_text() {
    const std::chrono::sys_seconds now{std::chrono::seconds(platform::unix_s())};
    return std::format("{:%a, %d %b %Y %H:%M:%S} GMT", now);
}

}  // namespace

std::string head_text(unsigned status, std::string_view content_type, std::string_view framing,
                      const ReplyStyle& style) {
    const std::string_view reason = http::obsolete_reason(http::int_to_status(status));
    std::string text =
        std::format("HTTP/1.1 {} {}\r\nServer: exomesh\r\nDate: {}\r\nConnection: {}\r\n", status,
                    reason, date_text(), style.keep_alive ? "keep-alive" : "close");
    if (!content_type.empty()) text += std::format("Content-Type: {}\r\n", content_type);
    if (!framing.empty()) text += std::format("{}\r\n", framing);
    for (const auto& [name, value] : style.extra_headers) {
        text += std::format("{}: {}\r\n", name, value);
    }
    return text + "\r\n";
}

std::string reply_text(const Reply& reply, const ReplyStyle& style) {
    ReplyStyle all = style;
    all.extra_headers.insert(all.extra_headers.end(), reply.headers.begin(), reply.headers.end());
    const bool no_content = reply.status == 204;
    const std::string framing =
        no_content ? "" : std::format("Content-Length: {}", reply.body.size());
    std::string text = head_text(
        reply.status, no_content ? "" : std::string_view(reply.content_type), framing, all);
    if (!style.head_only && !no_content) text += reply.body;
    return text;
}

std::string event_text(const Json& json) {
    return "data: " + dump(json) + "\n\n";
}

asio::awaitable<bool> write_all(beast::tcp_stream& stream, std::string_view text,
                                std::chrono::milliseconds patience) {
    while (!text.empty()) {
        stream.expires_after(patience);
        const auto [error, count] = co_await stream.async_write_some(
            asio::buffer(text.substr(0, write_bytes_max)), asio::as_tuple(asio::use_awaitable));
        stream.expires_never();
        if (error) {
            stream.close();
            co_return false;
        }
        text.remove_prefix(count);
    }
    co_return true;
}

EventStream::EventStream(beast::tcp_stream& stream, ReplyStyle style,
                         std::chrono::milliseconds patience)
    : stream_(&stream), style_(std::move(style)), patience_(patience) {
    style_.extra_headers.emplace_back("Cache-Control", "no-cache");
    style_.extra_headers.emplace_back("X-Accel-Buffering", "no");
}

asio::awaitable<bool> EventStream::open() {
    const std::string head = head_text(200, "text/event-stream; charset=utf-8",
                                       style_.chunked ? "Transfer-Encoding: chunked" : "", style_);
    co_return co_await write_all(*stream_, head, patience_);
}

asio::awaitable<bool> EventStream::send(std::string events) {
    if (style_.chunked) events = std::format("{:x}\r\n{}\r\n", events.size(), events);
    co_return co_await write_all(*stream_, events, patience_);
}

asio::awaitable<bool> EventStream::finish() {
    if (!style_.chunked) co_return true;
    co_return co_await write_all(*stream_, "0\r\n\r\n", patience_);
}

}  // namespace exomesh::api
