// From request bodies to what the engine is asked, and every way to be refused.
#include "api/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <format>
#include <limits>
#include <string>
#include <string_view>

#include "api/limits.h"
#include "api/testing/scripted_backend.h"

namespace exomesh::api {
namespace {

using testing::HasSubstr;

const ScriptedBackend& backend() {
    static const ScriptedBackend instance;
    return instance;
}

ApiResult<Answer> chat(std::string_view fields) {
    return prepare_chat_completion(
        std::format(R"({{"messages":[{{"role":"user","content":"Hi"}}]{}{}}})",
                    fields.empty() ? "" : ",", fields),
        backend(), {});
}

ApiResult<Answer> completion(std::string_view body) {
    return prepare_completion(body, backend(), {});
}

void expect_refused(const ApiResult<Answer>& answer, std::string_view parameter,
                    std::string_view message, unsigned status = 400) {
    ASSERT_FALSE(answer) << parameter;
    EXPECT_EQ(answer.error().status, status);
    EXPECT_EQ(answer.error().parameter, parameter);
    EXPECT_THAT(answer.error().message, HasSubstr(std::string(message)));
}

TEST(ChatRequest, TakesEveryField) {
    const auto answer = chat(R"(
        "model": "scripted", "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1,
        "repetition_penalty": 1.1, "frequency_penalty": -1, "presence_penalty": 2, "seed": -3,
        "stop": ["a", "b"], "max_tokens": 5, "max_completion_tokens": 9, "logit_bias": {"65": -100},
        "logprobs": true, "top_logprobs": 3, "n": 2, "stream": true,
        "stream_options": {"include_usage": true}, "user": "me", "metadata": {"a": "b"},
        "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "unknown": 1)");
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->requests.size(), 2U);
    EXPECT_TRUE(answer->stream);
    EXPECT_TRUE(answer->include_usage);
    const engine::GenerateRequest& request = answer->requests[0];
    EXPECT_FLOAT_EQ(request.sampling.temperature, 0.5F);
    EXPECT_FLOAT_EQ(request.sampling.top_p, 0.9F);
    EXPECT_EQ(request.sampling.top_k, 7);
    EXPECT_FLOAT_EQ(request.sampling.min_p, 0.1F);
    EXPECT_FLOAT_EQ(request.sampling.repetition_penalty, 1.1F);
    EXPECT_FLOAT_EQ(request.sampling.frequency_penalty, -1);
    EXPECT_FLOAT_EQ(request.sampling.presence_penalty, 2);
    EXPECT_EQ(request.sampling.seed, static_cast<std::uint64_t>(-3));
    EXPECT_EQ(request.sampling.logit_bias.at(65), -100.0F);
    EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b", "\nUser:"}));
    EXPECT_EQ(request.max_tokens, 9U);
    EXPECT_TRUE(request.want_logprobs);
    EXPECT_EQ(request.top_logprob_count, 3);
}

TEST(ChatRequest, NullIsAsGoodAsAbsent) {
    const auto answer = chat(R"("temperature": null, "stop": null, "tools": null, "n": null)");
    ASSERT_TRUE(answer);
    EXPECT_FLOAT_EQ(answer->requests[0].sampling.temperature, 0.8F);
    EXPECT_EQ(answer->requests[0].max_tokens, 0U);
}

TEST(ChatRequest, JoinsPartsAndKnowsRoles) {
    const auto answer = prepare_chat_completion(
        R"({"messages":[{"role":"developer","content":"Be brief."},
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
            {"role":"assistant","content":"c","tool_calls":[]},{"role":"tool","content":"d"}]})",
        backend(), {});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(backend().decode(answer->requests[0].prompt),
              "Be brief.\n\nUser: ab\nAssistant: c\nUser: d\nAssistant:");
}

TEST(ChatRequest, NamesWhatIsWrong) {
    const auto messages = [](std::string_view list) {
        return prepare_chat_completion(std::format(R"({{"messages":{}}})", list), backend(), {});
    };
    expect_refused(messages("[]"), "messages", "1 to");
    expect_refused(messages("\"Hi\""), "messages", "list");
    expect_refused(messages("[1]"), "messages[0]", "an integer");
    expect_refused(messages(R"([{"role":"king","content":""}])"), "messages[0].role", "'king'");
    expect_refused(messages(R"([{"role":"user","content":"a"},{"role":"user","content":3}])"),
                   "messages[1].content", "expected a string or a list of parts, not an integer");
    expect_refused(messages(R"([{"role":"user"}])"), "messages[0].content", "missing");
    expect_refused(messages(R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"),
                   "messages[0].content[0].type", "'image_url' is not supported");
    expect_refused(messages(R"([{"role":"user","content":[{"type":"text"}]}])"),
                   "messages[0].content[0].text", "expected a string");
    expect_refused(messages(R"([{"role":"assistant","content":"","tool_calls":[{}]}])"),
                   "messages[0].tool_calls", "not supported");
    expect_refused(prepare_chat_completion("{}", backend(), {}), "messages", "missing");
}

TEST(ChatRequest, NamesRanges) {
    expect_refused(chat(R"("temperature": 3)"), "temperature", "from 0 to 2");
    expect_refused(chat(R"("temperature": "hot")"), "temperature", "a string");
    expect_refused(chat(R"("top_p": -0.1)"), "top_p", "from 0 to 1");
    expect_refused(chat(R"("n": 5)"), "n", "from 1 to 4");
    expect_refused(chat(R"("n": 1.5)"), "n", "an integer");
    expect_refused(chat(R"("seed": 18446744073709551615)"), "seed", "out of range");
    expect_refused(chat(R"("max_tokens": 0)"), "max_tokens", "from 1");
    expect_refused(chat(R"("stop": [""])"), "stop", "1 to 1024 bytes");
    expect_refused(chat(R"("stop": [1])"), "stop", "strings");
    expect_refused(chat(R"("stop": ["1","2","3","4","5","6","7","8","9"])"), "stop", "at most 8");
    expect_refused(chat(R"("logit_bias": {"256": 1})"), "logit_bias", "from 0 to 255");
    expect_refused(chat(R"("logit_bias": {"1": 101})"), "logit_bias.1", "from -100 to 100");
    expect_refused(chat(R"("logit_bias": [1])"), "logit_bias", "object");
    expect_refused(chat(R"("top_logprobs": 2)"), "top_logprobs", "together");
    expect_refused(chat(R"("logprobs": true, "top_logprobs": 21)"), "top_logprobs", "to 20");
    expect_refused(chat(R"("stream_options": {})"), "stream_options", "together");
    expect_refused(chat(R"("stream": 1)"), "stream", "true or false");
    expect_refused(chat(R"("model": "gpt-4o")"), "model", "'scripted' is", 404);
}

TEST(ChatRequest, RefusesWhatIsNotThereYet) {
    for (const std::string_view field :
         {R"("tools": [{"type": "function"}])", R"("tool_choice": "required")",
          R"("functions": [{}])", R"("response_format": {"type": "json_object"})",
          R"("modalities": ["text", "audio"])", R"("audio": {"voice": "x"})"}) {
        const auto answer = chat(field);
        ASSERT_FALSE(answer) << field;
        EXPECT_EQ(answer.error().code, "unsupported_parameter");
        EXPECT_THAT(std::string(field), HasSubstr(answer.error().parameter));
    }
}

TEST(ChatRequest, RefusesAPromptLongerThanTheContext) {
    const auto answer = prepare_chat_completion(
        std::format(R"({{"messages":[{{"role":"user","content":"{}"}}]}})", std::string(5000, 'x')),
        backend(), {});
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, "context_length_exceeded");
}

// Encoding megabytes would keep everyone else waiting, only to refuse them.
TEST(ChatRequest, RefusesALongTextBeforeItIsEncoded) {
    const std::string half(5000, 'x');
    const auto answer =
        prepare_chat_completion(std::format(R"({{"messages":[{{"role":"user","content":"{0}"}},
                                     {{"role":"user","content":"{0}"}}]}})",
                                            half),
                                backend(), {});
    expect_refused(answer, "messages", "the text has 10000 bytes");
    EXPECT_EQ(answer.error().code, "context_length_exceeded");
    expect_refused(completion(std::format(R"({{"prompt":"{0}{0}"}})", half)), "prompt",
                   "the text has 10000 bytes");
}

TEST(CompletionRequest, TakesStringsAndTokens) {
    for (const std::string_view prompt : {R"("Hi")", R"(["Hi"])", "[72, 105]", "[[72, 105]]"}) {
        const auto answer = completion(std::format(R"({{"prompt": {}}})", prompt));
        ASSERT_TRUE(answer) << prompt << ": " << answer.error().message;
        EXPECT_EQ(answer->requests[0].prompt, (std::vector<engine::TokenId>{72, 105}));
    }
}

TEST(CompletionRequest, NamesWhatIsWrong) {
    expect_refused(completion("{}"), "prompt", "missing");
    expect_refused(completion(R"({"prompt": ""})"), "prompt", "no tokens");
    expect_refused(completion(R"({"prompt": []})"), "prompt", "an empty list");
    expect_refused(completion(R"({"prompt": 1})"), "prompt", "an integer");
    expect_refused(completion(R"({"prompt": [65, 300]})"), "prompt[1]", "from 0 to 255");
    expect_refused(completion(R"({"prompt": ["a", "b"]})"), "prompt", "several");
    expect_refused(completion(R"({"prompt": "a", "suffix": "b"})"), "suffix", "suffix");
    expect_refused(completion(R"({"prompt": "a", "best_of": 2})"), "best_of", "only 1");
    expect_refused(completion(R"({"prompt": "a", "response_format": {"type": "json_object"}})"),
                   "response_format", "not there yet");
    EXPECT_TRUE(completion(R"({"prompt": "a", "response_format": {"type": "text"}})"));
    expect_refused(completion(R"({"prompt": "a", "logprobs": 6})"), "logprobs", "from 0 to 5");
    expect_refused(completion(R"({"prompt": "a", "logprobs": 1, "echo": true})"), "echo", "either");
}

TEST(JsonBody, IsLimitedAndChecked) {
    expect_refused(completion(""), "", "empty");
    expect_refused(completion("[]"), "", "a list");
    expect_refused(completion("{\n  \"prompt\": }"), "", "line 2, column 13");
    expect_refused(completion("{\"prompt\": \"\xff\"}"), "", "UTF-8");
    expect_refused(completion(std::string(json_depth_max + 1, '[')), "", "nested");
    expect_refused(completion(std::string(json_value_count_max + 1, ',')), "", "values");
    EXPECT_TRUE(completion("{\"prompt\": \"" + std::string(json_depth_max + 1, '[') + "\"}"));
}

// Each key of an object is compared with all before it.
TEST(JsonBody, HasFewKeysInEachObject) {
    const auto keys = [](std::size_t count) {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text += std::format(R"(,"k{}":{{"x":1}})", i);
        return text;
    };
    const std::string prompt = R"("prompt": "a")";
    EXPECT_TRUE(completion("{" + prompt + keys(json_key_count_max - 1) + "}"));
    expect_refused(completion("{" + prompt + keys(json_key_count_max) + "}"), "", "keys");
    expect_refused(completion("{" + prompt + R"(,"a":[{"b":1)" + keys(json_key_count_max) + "}]}"),
                   "", "keys");
    const std::string half = R"({"b":1)" + keys(json_key_count_max / 2) + "}";
    EXPECT_TRUE(completion("{" + prompt + R"(,"a":[)" + half + "," + half + "," + half + "]}"));
}

// What a whole chat answer looks like, with log probabilities that JSON and UTF-8 cannot hold.
TEST(ChatFormat, WritesLogprobs) {
    auto answer = chat(R"("logprobs": true, "top_logprobs": 1)");
    ASSERT_TRUE(answer);
    engine::GenerationEvent event;
    event.text = "A";
    event.logprob = engine::TokenLogprob{.token = 65, .bytes = "A", .logprob = -0.25F};
    event.top_logprobs = {
        {.token = 200, .bytes = "\xC3", .logprob = -std::numeric_limits<float>::infinity()}};
    Choice choice;
    choice.add(event);
    const Json json = Json::parse(dump(answer->format->whole({&choice, 1})));
    const Json& token = json["choices"][0]["logprobs"]["content"][0];
    EXPECT_EQ(token["token"], "A");
    EXPECT_EQ(token["logprob"], -0.25);
    EXPECT_EQ(token["top_logprobs"][0]["token"], "\xEF\xBF\xBD");
    EXPECT_EQ(token["top_logprobs"][0]["bytes"], Json::array({0xC3}));
    EXPECT_EQ(token["top_logprobs"][0]["logprob"], -9999.0);
}

TEST(CompletionFormat, KeepsTokensApartThatAreNoTextAlone) {
    auto answer = completion(R"({"prompt":"a","logprobs":3})");
    ASSERT_TRUE(answer);
    engine::GenerationEvent event;
    event.logprob = engine::TokenLogprob{.token = 200, .bytes = "\xC3", .logprob = -0.5F};
    event.top_logprobs = {{.token = 200, .bytes = "\xC3", .logprob = -0.5F},
                          {.token = 201, .bytes = "\xC4", .logprob = -1.0F},
                          {.token = 65, .bytes = "A", .logprob = -2.0F},
                          {.token = 66, .bytes = "A", .logprob = -3.0F}};
    Choice choice;
    choice.add(event);
    const Json json = Json::parse(dump(answer->format->whole({&choice, 1})));
    const Json& logprobs = json["choices"][0]["logprobs"];
    EXPECT_EQ(logprobs["tokens"][0], "bytes:\\xc3");
    const Json expected = {{"bytes:\\xc3", -0.5}, {"bytes:\\xc4", -1.0}, {"A", -2.0}};
    EXPECT_EQ(logprobs["top_logprobs"][0], expected);
}

}  // namespace
}  // namespace exomesh::api
