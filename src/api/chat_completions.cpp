#include <utility>

#include "api/answer.h"
#include "api/answer_json.h"
#include "api/chat_request.h"
#include "platform/clock.h"

namespace exomesh::api {

namespace {

Json logprob_json(const engine::TokenLogprob& logprob, const Backend& backend) {
    Json bytes = Json::array();
    for (const char byte : logprob.bytes) bytes.push_back(static_cast<unsigned char>(byte));
    return {{"token", token_text(logprob, backend)},
            {"logprob", finite_logprob(logprob.logprob)},
            {"bytes", std::move(bytes)}};
}

Json token_json(const engine::TokenLogprob& logprob,
                std::span<const engine::TokenLogprob> alternatives, const Backend& backend) {
    Json entry = logprob_json(logprob, backend);
    Json& list = entry["top_logprobs"] = Json::array();
    for (const auto& alternative : alternatives) {
        list.push_back(logprob_json(alternative, backend));
    }
    return entry;
}

class ChatFormat final : public AnswerFormat {
  public:
    ChatFormat(AnswerHead head, const Backend& backend, bool want_logprobs)
        : head_(std::move(head)), backend_(&backend), want_logprobs_(want_logprobs) {}

    [[nodiscard]] Json whole(std::span<const Choice> choices) const override {
        Json object = object_of("chat.completion", head_);
        Json& list = object["choices"] = Json::array();
        for (std::size_t i = 0; i < choices.size(); ++i) {
            const Choice& choice = choices[i];
            list.push_back(
                {{"index", i},
                 {"message",
                  {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}}},
                 {"logprobs", logprobs_json(choice)},
                 {"finish_reason", finish_json(choice.finish)}});
        }
        const engine::Usage usage = total_usage(choices);
        object["usage"] = usage_json(usage);
        object["timings"] = timings_json(usage);
        return object;
    }

    [[nodiscard]] Json opening(std::size_t index) const override {
        return chunk_of(index, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
    }

    [[nodiscard]] Json chunk(std::size_t index, const engine::GenerationEvent& event) override {
        if (event.text.empty() && !event.logprob && !event.finish) return nullptr;
        Json delta = Json::object();
        if (!event.text.empty() || event.logprob) delta["content"] = event.text;
        Json logprobs;
        if (event.logprob) {
            logprobs = {{"content",
                         Json::array({token_json(*event.logprob, event.top_logprobs, *backend_)})},
                        {"refusal", nullptr}};
        }
        return chunk_of(index, std::move(delta), std::move(logprobs), finish_json(event.finish));
    }

    [[nodiscard]] Json closing(const engine::Usage& usage) const override {
        Json object = object_of("chat.completion.chunk", head_);
        object["choices"] = Json::array();
        object["usage"] = usage_json(usage);
        object["timings"] = timings_json(usage);
        return object;
    }

  private:
    [[nodiscard]] Json logprobs_json(const Choice& choice) const {
        if (!want_logprobs_) return nullptr;
        Json content = Json::array();
        for (std::size_t i = 0; i < choice.logprobs.size(); ++i) {
            content.push_back(token_json(choice.logprobs[i], choice.top_logprobs[i], *backend_));
        }
        return {{"content", std::move(content)}, {"refusal", nullptr}};
    }

    [[nodiscard]] Json chunk_of(std::size_t index, Json delta, Json logprobs, Json finish) const {
        Json object = object_of("chat.completion.chunk", head_);
        object["choices"] = Json::array({Json{{"index", index},
                                              {"delta", std::move(delta)},
                                              {"logprobs", std::move(logprobs)},
                                              {"finish_reason", std::move(finish)}}});
        return object;
    }

    AnswerHead head_;
    const Backend* backend_;
    bool want_logprobs_;
};

}  // namespace

ApiResult<Answer> prepare_chat_completion(std::string_view body, const Backend& backend,
                                          AnswerHead head) {
    const ModelInformation& model = backend.model();
    EXO_TRY_ASSIGN(const Json json, parse_json_object(body));
    EXO_TRY_ASSIGN(ChatRequest request, read_chat_request(json, model));
    std::size_t size_bytes = 0;
    for (const engine::Message& message : request.messages) size_bytes += message.content.size();
    EXO_TRY(check_prompt_size(size_bytes, model, "messages"));
    auto prompt = backend.encode_conversation(
        request.messages,
        {.template_variables = std::move(request.template_variables), .now_s = platform::unix_s()});
    if (!prompt) return std::unexpected(from_error(prompt.error(), 400));
    EXO_TRY(check_prompt_length(prompt->tokens.size(), model, "messages"));

    engine::GenerateRequest& generate = request.generation.request;
    generate.prompt = std::move(prompt->tokens);
    generate.stop.insert(generate.stop.end(), prompt->stop.begin(), prompt->stop.end());
    head.model = model.id;
    Answer answer;
    answer.stream = request.generation.stream;
    answer.include_usage = request.generation.include_usage;
    answer.format = std::make_unique<ChatFormat>(std::move(head), backend, generate.want_logprobs);
    answer.requests = requests_of(request.generation);
    return answer;
}

}  // namespace exomesh::api
