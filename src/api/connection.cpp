#include "api/connection.h"

#include <algorithm>
#include <format>
#include <optional>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include "api/answer.h"
#include "api/generation.h"
#include "api/http_output.h"
#include "api/reply.h"
#include "api/router.h"
#include "platform/clock.h"

namespace exomesh::api {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::awaitable;

namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_bytes = 4096;

enum class Next { keep_alive, close, drain_and_close };

// A value that goes back down when a scope ends.
template <typename Count>
class Raised {
  public:
    Raised(Count& count, Count amount) : count_(&count), amount_(amount) { count += amount; }
    Raised(const Raised&) = delete;
    Raised& operator=(const Raised&) = delete;
    ~Raised() { *count_ -= amount_; }

    void lower_to(Count amount) {
        *count_ -= amount_ - amount;
        amount_ = amount;
    }

  private:
    Count* count_;
    Count amount_;
};

Method method_of(http::verb verb) {
    if (verb == http::verb::get) return Method::get;
    if (verb == http::verb::head) return Method::head;
    if (verb == http::verb::post) return Method::post;
    if (verb == http::verb::options) return Method::options;
    return Method::other;
}

// What the parser says of bytes that are no request; nothing where the client just left.
std::optional<ApiError> parse_error(beast::error_code error, const Limits& limits) {
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
        return ApiError{
            431, std::format("the request's header is larger than {} bytes.", header_bytes_max)};
    }
    if (error == http::error::body_limit) {
        return ApiError{
            413, std::format("the request's body is larger than {} bytes.", limits.body_bytes_max)};
    }
    const bool from_parser =
        error.category() == http::make_error_code(http::error::bad_method).category();
    if (!from_parser || error == http::error::end_of_stream ||
        error == http::error::partial_message) {
        return {};
    }
    return ApiError{400, "this is no HTTP/1.1 request: " + error.message() + "."};
}

// A JSON body must call itself one. Browsers may send other types across sites without asking.
ApiResult<> check_content_type(const http::request_header<>& head) {
    std::string_view type = head[http::field::content_type];
    type = type.substr(0, type.find(';'));
    while (type.ends_with(' ')) type.remove_suffix(1);
    if (!beast::iequals(type, "application/json")) {
        return std::unexpected(
            ApiError{415, std::format("the body's type is '{}'; send the header 'Content-Type: "
                                      "application/json'.",
                                      type)});
    }
    const std::string_view encoding = head[http::field::content_encoding];
    if (!encoding.empty() && !beast::iequals(encoding, "identity")) {
        return std::unexpected(
            ApiError{415, std::format("bodies encoded as '{}' are not supported.", encoding)});
    }
    return {};
}

class Connection {
  public:
    Connection(asio::ip::tcp::socket socket, ServerContext& context)
        : context_(context), open_{beast::tcp_stream(std::move(socket))} {
        context_.open.insert(&open_);
        ++context_.counters.connections_total;
        context_.counters.connections = context_.open.size();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        context_.open.erase(&open_);
        context_.counters.connections = context_.open.size();
    }

    awaitable<void> run();

  private:
    awaitable<bool> wait_for_request();
    awaitable<Next> exchange();
    awaitable<Next> respond(RequestParser& parser, const Route& route);
    ApiResult<Route> admit(const http::request_header<>& head, Method method, ReplyStyle& style);
    awaitable<Next> answer_request(Endpoint endpoint, std::string body,
                                   Raised<std::size_t>& reservation);
    awaitable<ApiResult<Answer>> prepare(Endpoint endpoint, std::string body);
    awaitable<Next> send_whole(std::shared_ptr<Generation> generation, const Answer& answer,
                               std::size_t choice_count);
    awaitable<Next> send_stream(std::shared_ptr<Generation> generation, const Answer& answer,
                                std::size_t choice_count);
    awaitable<void> watch_for_disconnect(std::shared_ptr<Generation> generation);
    awaitable<Next> write(Reply reply);
    awaitable<void> drain();
    Reply plain_reply(const Route& route);

    ServerContext& context_;
    OpenConnection open_;
    beast::flat_buffer buffer_{header_bytes_max + pipelined_bytes_max};
    ReplyStyle style_;  // of the request under way
    bool is_first_request_ = true;
};

awaitable<void> Connection::run() {
    for (;;) {
        if (!co_await wait_for_request()) break;
        const Next next = co_await exchange();
        open_.answering = false;
        if (next == Next::drain_and_close) co_await drain();
        if (next != Next::keep_alive || context_.stopping) break;
        buffer_.shrink_to_fit();
    }
    beast::error_code ignored;
    (void)open_.stream.socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
}

awaitable<bool> Connection::wait_for_request() {
    if (buffer_.size() == 0) {
        const bool first = std::exchange(is_first_request_, false);
        open_.stream.expires_after(first ? context_.limits.header_timeout
                                         : context_.limits.keep_alive_timeout);
        const auto [error, count] =
            co_await open_.stream.async_read_some(buffer_.prepare(read_bytes), as_result);
        if (error) co_return false;
        buffer_.commit(count);
    }
    co_return !context_.stopping;
}

awaitable<Next> Connection::exchange() {
    open_.answering = true;
    style_ = ReplyStyle{};
    RequestParser parser;
    set_limits(parser, context_.limits);
    open_.stream.expires_after(context_.limits.header_timeout);
    const auto [error, count] =
        co_await http::async_read_header(open_.stream, buffer_, parser, as_result);
    if (error) {
        const auto refusal = parse_error(error, context_.limits);
        if (!refusal) co_return Next::close;
        co_await write(error_reply(*refusal));
        co_return Next::drain_and_close;
    }
    const auto& head = parser.get();
    const Method method = method_of(head.method());
    style_.head_only = method == Method::head;
    style_.chunked = head.version() >= 11;
    style_.keep_alive = parser.keep_alive() && head.version() >= 11 && !context_.stopping;

    auto admitted = admit(head, method, style_);
    if (admitted && method == Method::options) {
        // A preflight of a listed origin, or someone who asks what a target takes.
        Reply reply{.status = 204};
        reply.headers.emplace_back("Allow", allowed_methods(head.target()));
        if (parser.is_done()) co_return co_await write(std::move(reply));
        style_.keep_alive = false;
        co_await write(std::move(reply));
        co_return Next::drain_and_close;
    }
    if (!admitted) {
        style_.keep_alive = style_.keep_alive && parser.is_done();
        const Next next = co_await write(error_reply(admitted.error()));
        co_return next == Next::keep_alive || parser.is_done() ? next : Next::drain_and_close;
    }
    co_return co_await respond(parser, *admitted);
}

// Everything that can be refused before the body is read.
ApiResult<Route> Connection::admit(const http::request_header<>& head, Method method,
                                   ReplyStyle& style) {
    const auto field = [&](http::field name) -> std::optional<std::string_view> {
        const auto found = head.find(name);
        if (found == head.end()) return {};
        return std::string_view(found->value());
    };
    const std::string_view target = head.target();
    if (target.size() > target_bytes_max) {
        return std::unexpected(ApiError{
            414, std::format("the request's target is longer than {} bytes.", target_bytes_max)});
    }
    const RequestHead facts{.host = field(http::field::host).value_or(""),
                            .origin = field(http::field::origin),
                            .authorization = field(http::field::authorization)};
    EXO_TRY(check_origin(context_.access, facts));
    if (facts.origin && is_listed_origin(context_.access, *facts.origin)) {
        auto& headers = style.extra_headers;
        headers.emplace_back("Access-Control-Allow-Origin", *facts.origin);
        headers.emplace_back("Vary", "Origin");
        if (method == Method::options) {
            headers.emplace_back("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
            headers.emplace_back("Access-Control-Allow-Headers", "authorization, content-type");
            headers.emplace_back("Access-Control-Max-Age", "600");
        }
    }
    if (method == Method::options && !allowed_methods(target).empty()) return Route{};

    auto found = route(method, target);
    const bool is_health = found && found->endpoint == Endpoint::health;
    if (!is_health) EXO_TRY(check_key(context_.access, facts));
    if (!found) {
        if (!found.error().allow.empty())
            style.extra_headers.emplace_back("Allow", found.error().allow);
        return std::unexpected(found.error().error);
    }
    if (method == Method::post) EXO_TRY(check_content_type(head));
    return *std::move(found);
}

awaitable<Next> Connection::respond(RequestParser& parser, const Route& route) {
    std::size_t reserved = 0;
    if (!parser.is_done()) {
        const auto length = parser.content_length();
        reserved = length ? static_cast<std::size_t>(*length) : context_.limits.body_bytes_max;
    }
    if (context_.body_bytes_reserved + reserved > context_.limits.body_bytes_total_max) {
        style_.keep_alive = false;
        co_await write(
            error_reply({503, "too many large requests are being read at the moment; try again."}));
        co_return Next::drain_and_close;
    }
    Raised<std::size_t> reservation(context_.body_bytes_reserved, reserved);
    if (!parser.is_done()) {
        if (beast::iequals(parser.get()[http::field::expect], "100-continue") &&
            !co_await write_all(open_.stream, "HTTP/1.1 100 Continue\r\n\r\n",
                                context_.limits.write_timeout)) {
            co_return Next::close;
        }
        open_.stream.expires_after(context_.limits.body_timeout);
        const auto [error, count] =
            co_await http::async_read(open_.stream, buffer_, parser, as_result);
        if (error) {
            const auto refusal = parse_error(error, context_.limits);
            if (!refusal) co_return Next::close;
            style_.keep_alive = false;
            co_await write(error_reply(*refusal));
            co_return Next::drain_and_close;
        }
        // A body in chunks reserved as much as any may have.
        reservation.lower_to(std::min(reserved, parser.get().body().size()));
    }
    open_.stream.expires_never();
    if (route.endpoint == Endpoint::chat_completions || route.endpoint == Endpoint::completions) {
        co_return co_await answer_request(route.endpoint, std::move(parser.get().body()),
                                          reservation);
    }
    co_return co_await write(plain_reply(route));
}

Reply Connection::plain_reply(const Route& route) {
    switch (route.endpoint) {
        case Endpoint::home:
            return home_reply(*context_.backend);
        case Endpoint::health:
            return health_reply(*context_.backend);
        case Endpoint::metrics:
            return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = metrics_text(context_.counters, *context_.backend)};
        case Endpoint::models:
            return models_reply(*context_.backend);
        case Endpoint::model:
            return model_reply(*context_.backend, route.argument);
        case Endpoint::chat_completions:
        case Endpoint::completions:
            break;
    }
    return error_reply({500, "this endpoint has no plain answer."});
}

awaitable<ApiResult<Answer>> Connection::prepare(Endpoint endpoint, std::string body) {
    const bool is_chat = endpoint == Endpoint::chat_completions;
    AnswerHead head{.id = std::format("{}-{}{:06x}", is_chat ? "chatcmpl" : "cmpl",
                                      context_.id_prefix, context_.id_count++),
                    .created_s = platform::unix_s()};
    const Backend& backend = *context_.backend;
    const auto prepare_function = is_chat ? prepare_chat_completion : prepare_completion;
    auto work = [](auto function, std::string text, const Backend* behind,
                   AnswerHead front) -> awaitable<ApiResult<Answer>> {
        co_return function(text, *behind, std::move(front));
    };
    co_return co_await asio::co_spawn(
        context_.workers, work(prepare_function, std::move(body), &backend, std::move(head)),
        asio::use_awaitable);
}

awaitable<Next> Connection::answer_request(Endpoint endpoint, std::string body,
                                           Raised<std::size_t>& reservation) {
    auto answer = co_await prepare(endpoint, std::move(body));
    reservation.lower_to(0);  // the body is gone, the answer may take minutes
    if (!answer) co_return co_await write(error_reply(answer.error()));
    const std::size_t choice_count = answer->requests.size();
    auto generation = Generation::start(context_.io, *context_.backend, std::move(answer->requests),
                                        context_.limits.unread_event_bytes_max);
    if (!generation) co_return co_await write(error_reply(from_error(generation.error(), 429)));

    const CancelGuard guard(*generation);
    const Raised<std::uint64_t> running(context_.counters.answers_running, 1);
    using asio::experimental::awaitable_operators::operator||;
    auto ended = answer->stream ? co_await (send_stream(*generation, *answer, choice_count) ||
                                            watch_for_disconnect(*generation))
                                : co_await (send_whole(*generation, *answer, choice_count) ||
                                            watch_for_disconnect(*generation));
    if (const Next* next = std::get_if<Next>(&ended)) co_return *next;
    ++context_.counters.disconnects_total;
    co_return Next::close;
}

// Ends when the client closes its connection (or its sending half: a client that has said goodbye
// gets no answer). Bytes of a next request are kept; more than the limit ends the connection, since
// a close could not be seen behind bytes that are not read.
awaitable<void> Connection::watch_for_disconnect(std::shared_ptr<Generation> generation) {
    while (buffer_.size() < pipelined_bytes_max) {
        const auto [error, count] =
            co_await open_.stream.socket().async_read_some(buffer_.prepare(read_bytes), as_result);
        if (error) break;
        buffer_.commit(count);
    }
    generation->cancel();
}

// What went wrong with an ended choice, if anything did.
std::optional<ApiError> failure_of(const std::optional<engine::FinishReason>& finish,
                                   const std::optional<Error>& error) {
    if (finish == engine::FinishReason::cancelled) {
        return ApiError{503, "the answer was cancelled: the server is stopping."};
    }
    if (finish != engine::FinishReason::error) return {};
    return error ? from_error(*error) : ApiError{500, "the engine failed without saying why."};
}

ApiError answer_too_large(const Limits& limits) {
    return {400,
            std::format("the answer takes more than the {} bytes that one which is not streamed "
                        "may. Ask for \"stream\": true, a smaller max_tokens, or fewer "
                        "top_logprobs.",
                        limits.answer_bytes_max),
            {},
            "answer_too_large"};
}

awaitable<Next> Connection::send_whole(std::shared_ptr<Generation> generation, const Answer& answer,
                                       std::size_t choice_count) {
    constexpr std::chrono::hours long_time{1};
    std::vector<Choice> choices(choice_count);
    std::size_t size_bytes = 0;
    for (std::size_t finished = 0; finished < choice_count;) {
        const auto arrived = co_await generation->next(long_time);
        if (generation->has_overflowed()) {
            co_return co_await write(
                error_reply({503, "the answer grew faster than it was read."}));
        }
        for (const ChoiceEvent& entry : arrived) {
            Choice& choice = choices[entry.choice];
            size_bytes -= choice.size_bytes;
            choice.add(entry.event);
            size_bytes += choice.size_bytes;
            if (entry.event.finish) ++finished;
        }
        if (size_bytes > context_.limits.answer_bytes_max) {
            co_return co_await write(error_reply(answer_too_large(context_.limits)));
        }
    }
    for (const Choice& choice : choices) {
        if (const auto failure = failure_of(choice.finish, choice.error)) {
            co_return co_await write(error_reply(*failure));
        }
    }
    co_return co_await write(json_reply(answer.format->whole(choices)));
}

awaitable<Next> Connection::send_stream(std::shared_ptr<Generation> generation,
                                        const Answer& answer, std::size_t choice_count) {
    EventStream out(open_.stream, style_, context_.limits.write_timeout);
    ++context_.counters.responses_total[200];
    if (!co_await out.open()) co_return Next::close;
    const auto append = [&](std::string& events, Json object) {
        if (object.is_null()) return;
        if (answer.include_usage && !object.contains("usage")) object["usage"] = nullptr;
        events += event_text(object);
    };
    std::string events;
    for (std::size_t i = 0; i < choice_count; ++i) append(events, answer.format->opening(i));
    std::vector<Choice> choices(choice_count);  // for the usage; their text is not gathered
    bool failed = false;
    for (std::size_t finished = 0; finished < choice_count && !failed;) {
        if (!events.empty() && !co_await out.send(std::exchange(events, {}))) co_return Next::close;
        const auto arrived = co_await generation->next(context_.limits.comment_interval);
        if (generation->has_overflowed()) {
            ++context_.counters.slow_readers_total;
            co_return Next::close;
        }
        if (arrived.empty()) events = ": still working\n\n";
        for (const ChoiceEvent& entry : arrived) {
            const auto failure = failure_of(entry.event.finish, entry.event.error);
            if (failure) events += event_text(to_json(*failure));
            failed = failed || failure;
            if (failed) break;
            append(events, answer.format->chunk(entry.choice, entry.event));
            if (!entry.event.finish) continue;
            choices[entry.choice].usage = entry.event.usage;
            ++finished;
        }
    }
    if (!failed) {
        if (answer.include_usage) append(events, answer.format->closing(total_usage(choices)));
        events += "data: [DONE]\n\n";
    }
    if (!co_await out.send(std::move(events)) || !co_await out.finish()) co_return Next::close;
    co_return style_.keep_alive ? Next::keep_alive : Next::close;
}

awaitable<Next> Connection::write(Reply reply) {
    ++context_.counters.responses_total[reply.status];
    const std::string text = reply_text(reply, style_);
    const bool written = co_await write_all(open_.stream, text, context_.limits.write_timeout);
    co_return written&& style_.keep_alive ? Next::keep_alive : Next::close;
}

// Closing a socket with unread bytes resets the connection, and the client may never see the
// answer.
awaitable<void> Connection::drain() {
    beast::error_code ignored;
    (void)open_.stream.socket().shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
    open_.stream.expires_after(linger_time);
    for (;;) {
        buffer_.clear();
        const auto [error, count] =
            co_await open_.stream.async_read_some(buffer_.prepare(pipelined_bytes_max), as_result);
        if (error) co_return;
    }
}

}  // namespace

void set_limits(RequestParser& parser, const Limits& limits) {
    parser.header_limit(header_bytes_max);
    parser.body_limit(limits.body_bytes_max);
}

awaitable<void> serve_connection(asio::ip::tcp::socket socket, ServerContext& context) {
    Connection connection(std::move(socket), context);
    co_await connection.run();
}

}  // namespace exomesh::api
