#include "api/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <format>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "api/errors.h"
#include "api/testing/http_client.h"
#include "api/testing/scripted_backend.h"

namespace exomesh::api {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using std::chrono_literals::operator""ms;  // NOLINT(misc-unused-using-decls): it is used

constexpr std::string_view chat = "/v1/chat/completions";
constexpr std::string_view hello = R"({"messages":[{"role":"user","content":"Hi"}]})";
constexpr std::string_view hello_stream =
    R"({"messages":[{"role":"user","content":"Hi"}],"stream":true})";

// A server with a scripted backend, served on a thread.
class Running {
  public:
    explicit Running(Script script = {}, ServerOptions options = {}) : backend_(std::move(script)) {
        options.port = 0;
        auto created = Server::create(options, backend_);
        EXPECT_TRUE(created) << created.error().text();
        server_ = *std::move(created);
        thread_ = std::jthread([this] { server_->run(); });
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    ~Running() { stop(); }

    void stop() {
        server_->stop();
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] HttpClient connect() const { return HttpClient(server_->port()); }
    [[nodiscard]] ScriptedBackend& backend() { return backend_; }
    [[nodiscard]] Server& server() { return *server_; }

    // Waits for the engine to have been told of a cancellation.
    [[nodiscard]] bool sees_cancellation() const {
        for (int i = 0; i < 500 && backend_.cancelled_count() == 0; ++i) {
            std::this_thread::sleep_for(10ms);
        }
        return backend_.cancelled_count() > 0;
    }

  private:
    ScriptedBackend backend_;
    std::unique_ptr<Server> server_;
    std::jthread thread_;
};

Json json_of(const HttpAnswer& answer) {
    Json json = Json::parse(answer.body, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << answer.body;
    return json;
}

TEST(Server, AnswersAChat) {
    Running running;
    HttpClient client = running.connect();
    const HttpAnswer answer = client.post(chat, hello);
    EXPECT_EQ(answer.status, 200U);
    const Json json = json_of(answer);
    EXPECT_EQ(json["object"], "chat.completion");
    EXPECT_EQ(json["model"], "scripted");
    EXPECT_THAT(json["id"].get<std::string>(), StartsWith("chatcmpl-"));
    EXPECT_EQ(json["choices"][0]["message"]["content"], "Hello!");
    EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(json["usage"]["completion_tokens"], 3);
    EXPECT_EQ(json["usage"]["prompt_tokens_details"]["cached_tokens"], 1);
}

TEST(Server, StreamsAChatAsEvents) {
    Running running;
    HttpClient client = running.connect();
    const HttpAnswer answer =
        client.post(chat, R"({"messages":[{"role":"user","content":"Hi"}],"stream":true,
                              "stream_options":{"include_usage":true}})");
    EXPECT_THAT(answer.head, HasSubstr("Content-Type: text/event-stream"));
    EXPECT_THAT(answer.body, HasSubstr(R"("delta":{"role":"assistant","content":""})"));
    EXPECT_THAT(answer.body, HasSubstr(R"("delta":{"content":"Hel"})"));
    EXPECT_THAT(answer.body, HasSubstr(R"("delta":{},"logprobs":null,"finish_reason":"stop")"));
    EXPECT_THAT(answer.body, HasSubstr(R"("choices":[],"usage":{"prompt_tokens")"));
    EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
    // The connection is still good.
    EXPECT_EQ(client.get("/health").status, 200U);
}

TEST(Server, StreamsToHttp10WithoutChunks) {
    Running running;
    HttpClient client = running.connect();
    client.send(
        std::format("POST {} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    chat, hello_stream.size(), hello_stream));
    const std::string all = client.receive_all();
    EXPECT_THAT(all, AllOf(HasSubstr("Connection: close"), Not(HasSubstr("chunked"))));
    EXPECT_TRUE(all.ends_with("data: [DONE]\n\n"));
}

TEST(Server, GivesEveryChoiceItsOwnSeed) {
    Running running;
    HttpClient client = running.connect();
    const Json json = json_of(client.post(
        chat, R"({"messages":[{"role":"user","content":"Hi"}],"n":3,"seed":7,"max_tokens":2})"));
    ASSERT_EQ(json["choices"].size(), 3U);
    EXPECT_EQ(json["choices"][2]["index"], 2);
    EXPECT_EQ(json["choices"][2]["finish_reason"], "length");
    EXPECT_EQ(json["usage"]["completion_tokens"], 6);
    EXPECT_EQ(running.backend().requests()[2].sampling.seed, 9U);
}

TEST(Server, AnswersCompletions) {
    Running running;
    HttpClient client = running.connect();
    const Json json = json_of(client.post("/v1/completions", R"({"prompt":"Hi","logprobs":2})"));
    EXPECT_EQ(json["object"], "text_completion");
    EXPECT_EQ(json["choices"][0]["text"], "Hello!");
    const Json& logprobs = json["choices"][0]["logprobs"];
    EXPECT_EQ(logprobs["tokens"], Json::array({"Hel", "lo", "!"}));
    EXPECT_EQ(logprobs["text_offset"], Json::array({0, 3, 5}));
    EXPECT_EQ(running.backend().requests()[0].max_tokens, 16U);

    const Json echo = json_of(client.post("/v1/completions", R"({"prompt":[72,105],"echo":true})"));
    EXPECT_EQ(echo["choices"][0]["text"], "HiHello!");
}

TEST(Server, TellsModelsHealthAndMetrics) {
    Running running;
    HttpClient client = running.connect();
    EXPECT_EQ(json_of(client.get("/v1/models"))["data"][0]["id"], "scripted");
    EXPECT_EQ(json_of(client.get("/v1/models/scripted"))["context_length"], 4096);
    EXPECT_EQ(client.get("/v1/models/other").status, 404U);
    EXPECT_EQ(json_of(client.get("/health"))["status"], "ok");
    EXPECT_THAT(client.get("/").body, HasSubstr("/v1/chat/completions"));
    const HttpAnswer metrics = client.get("/metrics");
    EXPECT_THAT(metrics.head, HasSubstr("text/plain; version=0.0.4"));
    EXPECT_THAT(metrics.body, HasSubstr("exomesh_http_responses_total{status=\"404\"} 1\n"));
}

TEST(Server, IsUnhealthyAfterTheDeviceFailed) {
    Running running({.device_failure = "vulkan0 failed: the device is lost."});
    const HttpAnswer answer = running.connect().get("/health");
    EXPECT_EQ(answer.status, 503U);
    EXPECT_EQ(json_of(answer)["status"], "failed");
    EXPECT_THAT(answer.body, HasSubstr("vulkan0 failed: the device is lost."));
}

TEST(Server, AnswersHeadAndOptions) {
    Running running;
    HttpClient client = running.connect();
    client.send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_THAT(client.receive_until("\r\n\r\n"), HasSubstr("Content-Length: "));
    client.send("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const HttpAnswer options = client.receive();  // no body lies between the two answers
    EXPECT_EQ(options.status, 204U);
    EXPECT_THAT(options.head, HasSubstr("Allow: GET, HEAD, OPTIONS"));
}

TEST(Server, RefusesWithTheRightStatus) {
    Running running;
    HttpClient client = running.connect();
    EXPECT_EQ(client.get("/nothing").status, 404U);
    const HttpAnswer method = client.get(chat);
    EXPECT_EQ(method.status, 405U);
    EXPECT_THAT(method.head, HasSubstr("Allow: POST, OPTIONS"));
    const HttpAnswer json = client.post(chat, "{\"messages\": oops}");
    EXPECT_EQ(json.status, 400U);
    EXPECT_THAT(json.body, HasSubstr("line 1, column"));
    EXPECT_EQ(client.post(chat, hello, "Content-Encoding: gzip\r\n").status, 415U);

    HttpClient other = running.connect();
    other.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                    "Content-Length: 2\r\n\r\n{{}}",
                    chat));
    EXPECT_EQ(other.receive().status, 415U);
    EXPECT_EQ(other.receive().status, 0U) << "an unread body ends the connection";
}

TEST(Server, RefusesTooMuch) {
    ServerOptions options;
    options.limits.body_bytes_max = 1000;
    Running running({}, options);
    const std::string large(2000, ' ');
    EXPECT_EQ(running.connect().post(chat, large).status, 413U);

    HttpClient chunked = running.connect();
    chunked.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
                    chat, large));
    EXPECT_EQ(chunked.receive().status, 413U);

    EXPECT_EQ(running.connect()
                  .get("/health", "X-Large: " + std::string(header_bytes_max, 'x') + "\r\n")
                  .status,
              431U);
    EXPECT_EQ(running.connect().get("/" + std::string(target_bytes_max, 'x')).status, 414U);
    HttpClient garbage = running.connect();
    garbage.send("this is not HTTP\r\n\r\n");
    EXPECT_EQ(garbage.receive().status, 400U);
}

std::string in_one_chunk(std::string_view body) {
    return std::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        chat, body.size(), body);
}

// Room for bodies is for those being read: what is answered already takes none.
TEST(Server, StreamsToManyWhoSentTheirRequestInChunks) {
    ServerOptions options;
    options.limits.body_bytes_max = 1000;
    options.limits.body_bytes_total_max = 1000;
    Running running({.pause = 20ms, .endless = true}, options);
    HttpClient first = running.connect();
    first.send(in_one_chunk(hello_stream));
    EXPECT_THAT(first.receive_until("data:"), StartsWith("HTTP/1.1 200 "));
    HttpClient second = running.connect();
    second.send(in_one_chunk(hello_stream));
    EXPECT_THAT(second.receive_until("data:"), StartsWith("HTTP/1.1 200 "));
}

TEST(Server, ReadsNoMoreLargeBodiesThanItHasRoomFor) {
    ServerOptions options;
    options.limits.body_bytes_total_max = 1000;
    Running running({}, options);
    const std::string head = std::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: 800\r\n\r\n",
        chat);
    HttpClient first = running.connect();
    first.send(head);
    EXPECT_THAT(first.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 100 "));
    const HttpAnswer refused = running.connect().post(chat, std::string(800, ' '));
    EXPECT_EQ(refused.status, 503U);
    EXPECT_THAT(refused.head, HasSubstr("Retry-After: "));
    first.send(std::string(800 - hello.size(), ' ') + std::string(hello));
    EXPECT_EQ(first.receive().status, 200U);
    EXPECT_EQ(running.connect().post(chat, hello).status, 200U);
}

// With log probabilities a token takes kilobytes, and nobody reads before the answer is whole.
TEST(Server, EndsAnAnswerThatGrowsTooLarge) {
    ServerOptions options;
    options.limits.answer_bytes_max = 100'000;
    Running running({.pause = 1ms, .endless = true}, options);
    const HttpAnswer answer = running.connect().post(
        chat,
        R"({"messages":[{"role":"user","content":"Hi"}],"logprobs":true,"top_logprobs":20,"n":4})");
    EXPECT_EQ(answer.status, 400U);
    EXPECT_EQ(json_of(answer)["error"]["code"], "answer_too_large");
    EXPECT_THAT(answer.body, HasSubstr("stream"));
    EXPECT_TRUE(running.sees_cancellation());
}

TEST(Server, ContinuesWhenAsked) {
    Running running;
    HttpClient client = running.connect();
    client.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                    chat, hello.size()));
    EXPECT_THAT(client.receive_until("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue"));
    client.send(hello);
    EXPECT_EQ(client.receive().status, 200U);
}

TEST(Server, TakesPipelinedRequests) {
    Running running;
    HttpClient client = running.connect();
    const std::string request = std::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}",
        chat, hello.size(), hello);
    client.send(request + request + "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(json_of(client.receive())["choices"][0]["message"]["content"], "Hello!");
    EXPECT_EQ(json_of(client.receive())["choices"][0]["message"]["content"], "Hello!");
    EXPECT_EQ(json_of(client.receive())["status"], "ok");
}

TEST(Server, CancelsWhenAClientLeaves) {
    for (const std::string_view body : {hello, hello_stream}) {
        Running running({.pause = 20ms, .endless = true});
        HttpClient client = running.connect();
        client.send(
            std::format("POST {} HTTP/1.1\r\nHost: localhost\r\n"
                        "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                        chat, body.size(), body));
        for (int i = 0; i < 500 && running.backend().requests().empty(); ++i) {
            std::this_thread::sleep_for(10ms);
        }
        EXPECT_EQ(running.backend().cancelled_count(), 0U);
        client.close();
        EXPECT_TRUE(running.sees_cancellation()) << body;
        EXPECT_THAT(running.connect().get("/metrics").body,
                    HasSubstr("exomesh_http_disconnects_total 1\n"));
    }
}

// Behind bytes that are not read a close could not be seen.
TEST(Server, ClosesOnTooManyPipelinedBytes) {
    Running running({.pause = 20ms, .endless = true});
    HttpClient client = running.connect();
    client.send(in_one_chunk(hello_stream));
    EXPECT_THAT(client.receive_until("data:"), StartsWith("HTTP/1.1 200 "));
    client.send(std::string(pipelined_bytes_max, 'x'));
    EXPECT_TRUE(running.sees_cancellation());
}

TEST(Server, CancelsWhenAClientDoesNotRead) {
    ServerOptions options;
    options.limits.unread_event_bytes_max = 1 << 20;
    options.limits.write_timeout = 500ms;
    Running running({.pieces = {std::string(10000, 'x')}, .endless = true}, options);
    HttpClient client = running.connect();
    client.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    chat, hello_stream.size(), hello_stream));
    EXPECT_TRUE(running.sees_cancellation());
}

TEST(Server, DropsSlowRequests) {
    ServerOptions options;
    options.limits.header_timeout = 100ms;
    options.limits.body_timeout = 100ms;
    options.limits.keep_alive_timeout = 100ms;
    Running running({}, options);
    HttpClient silent = running.connect();
    EXPECT_EQ(silent.receive_all(), "");
    HttpClient header = running.connect();
    header.send("GET /health HTTP/1.1\r\nX:");
    EXPECT_EQ(header.receive_all(), "");
    HttpClient body = running.connect();
    body.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: 10\r\n\r\n{{",
                    chat));
    EXPECT_EQ(body.receive_all(), "");
    HttpClient idle = running.connect();
    EXPECT_EQ(idle.get("/health").status, 200U);
    EXPECT_EQ(idle.receive_all(), "");
}

TEST(Server, RefusesConnectionsBeyondTheLimit) {
    ServerOptions options;
    options.limits.connections_max = 1;
    Running running({}, options);
    HttpClient first = running.connect();
    EXPECT_EQ(first.get("/health").status, 200U);
    HttpClient second = running.connect();
    const HttpAnswer refused = second.receive();
    EXPECT_EQ(refused.status, 503U);
    EXPECT_THAT(refused.head, HasSubstr("Retry-After: "));
}

TEST(Server, PassesOnWhatTheEngineRefuses) {
    Running full({.refusal = Error{ErrorCode::resource_exhausted, "the queue is full."}});
    const HttpAnswer answer = full.connect().post(chat, hello);
    EXPECT_EQ(answer.status, 429U);
    EXPECT_THAT(answer.head, HasSubstr("Retry-After: "));

    // Not every limit is the queue's.
    const Error exhausted{ErrorCode::resource_exhausted, "that is too much."};
    Running no_memory({.finish = engine::FinishReason::error, .failure = exhausted});
    EXPECT_EQ(no_memory.connect().post(chat, hello).status, 503U);
    Running no_end({.template_failure = exhausted});
    const HttpAnswer refused = no_end.connect().post(chat, hello);
    EXPECT_EQ(refused.status, 400U);
    EXPECT_THAT(refused.body, HasSubstr("invalid_request_error"));

    const Script broken = {.finish = engine::FinishReason::error,
                           .failure = Error{ErrorCode::internal, "the device is lost."}};
    Running failing(broken);
    EXPECT_EQ(failing.connect().post(chat, hello).status, 500U);
    const HttpAnswer stream = failing.connect().post(chat, hello_stream);
    EXPECT_EQ(stream.status, 200U);
    EXPECT_THAT(stream.body, HasSubstr(R"(data: {"error":{"message":"the device is lost.")"));
    EXPECT_THAT(stream.body, Not(HasSubstr("[DONE]")));
}

TEST(Server, AsksForItsKey) {
    ServerOptions options;
    options.api_key = "secret";
    Running running({}, options);
    HttpClient client = running.connect();
    EXPECT_EQ(client.get("/v1/models").status, 401U);
    EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer wrong\r\n").status, 401U);
    EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer secret\r\n").status, 200U);
    EXPECT_EQ(client.get("/health").status, 200U);
}

TEST(Server, GuardsAgainstWebPages) {
    Running running;
    HttpClient client = running.connect();
    client.send("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    EXPECT_EQ(client.receive().status, 403U);
    EXPECT_EQ(client.get("/v1/models", "Origin: https://evil.example\r\n").status, 403U);
    EXPECT_EQ(client.get("/v1/models", "Origin: http://localhost\r\n").status, 200U);

    ServerOptions options;
    options.allowed_origins = {"https://chat.example"};
    Running allowing({}, options);
    const HttpAnswer allowed =
        allowing.connect().get("/v1/models", "Origin: https://chat.example\r\n");
    EXPECT_EQ(allowed.status, 200U);
    EXPECT_THAT(allowed.head, HasSubstr("Access-Control-Allow-Origin: https://chat.example\r\n"));
}

TEST(Server, WantsAKeyBeyondLoopback) {
    ScriptedBackend backend;
    ServerOptions options{.address = "0.0.0.0", .port = 0};
    const auto open = Server::create(options, backend);
    ASSERT_FALSE(open);
    EXPECT_THAT(open.error().text(), HasSubstr("API key"));
    options.api_key = "secret";
    EXPECT_TRUE(Server::create(options, backend));
    options.address = "not an address";
    EXPECT_FALSE(Server::create(options, backend));
}

TEST(Server, SaysThatAPortIsInUse) {
    Running running;
    ScriptedBackend backend;
    const auto second = Server::create({.port = running.server().port()}, backend);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::unavailable);
    EXPECT_THAT(second.error().text(), AllOf(HasSubstr("in use"), HasSubstr("another port")));
}

TEST(Server, StopsGracefully) {
    // An answer under way may end ...
    Running ending({.pause = 50ms});
    HttpClient client = ending.connect();
    HttpClient idle = ending.connect();
    EXPECT_EQ(idle.get("/health").status, 200U);
    client.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\n\r\n{}",
                    chat, hello.size(), hello));
    while (ending.backend().requests().empty()) std::this_thread::sleep_for(1ms);
    ending.stop();
    EXPECT_EQ(client.receive().status, 200U);
    EXPECT_EQ(idle.receive_all(), "");

    // ... within its time.
    ServerOptions options;
    options.limits.shutdown_grace = 50ms;
    Running endless({.pause = 10ms, .endless = true}, options);
    HttpClient patient = endless.connect();
    patient.send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                    chat, hello_stream.size(), hello_stream));
    while (endless.backend().requests().empty()) std::this_thread::sleep_for(1ms);
    endless.stop();
    EXPECT_TRUE(endless.sees_cancellation());
}

}  // namespace
}  // namespace exomesh::api
