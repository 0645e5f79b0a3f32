// POST /v1/completions: the older endpoint, a prompt in and its continuation out.
#include <format>
#include <utility>

#include "api/answer.h"
#include "api/answer_json.h"
#include "api/generation_fields.h"
#include "api/limits.h"
#include "model/utf8.h"

namespace exomesh::api {

namespace {

constexpr std::uint32_t completion_tokens_default = 16;  // OpenAI's

// Code points, as Python counts the characters of a text: bytes that do not continue one.
std::size_t character_count(std::string_view text) {
    std::size_t count = 0;
    for (const char byte : text) {
        if ((static_cast<unsigned char>(byte) & 0xC0U) != 0x80U) ++count;
    }
    return count;
}

// As token_text, but bytes that are no text of their own are spelled, as OpenAI does it:
// "bytes:\\xe2\\x80". JSON could only hold a replacement character for all of them alike.
std::string unique_name(const engine::TokenLogprob& logprob, const Backend& backend) {
    std::string text = token_text(logprob, backend);
    if (model::utf8_valid_end(text, 0) == text.size()) return text;
    std::string name = "bytes:";
    for (const char byte : text) name += std::format("\\x{:02x}", static_cast<unsigned char>(byte));
    return name;
}

struct Prompt {
    std::vector<engine::TokenId> tokens;
    std::string text;  // for echo
};

ApiResult<Prompt> read_token_prompt(const Json& list, const Backend& backend) {
    const std::size_t vocabulary_size = backend.model().vocabulary_size;
    Prompt prompt;
    prompt.tokens.reserve(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
        const Json& value = list[i];
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= vocabulary_size) {
            const std::string path = std::format("prompt[{}]", i);
            return refuse(path, std::format("{}: expected a token id from 0 to {}.", path,
                                            vocabulary_size - 1));
        }
        prompt.tokens.push_back(value.get<engine::TokenId>());
    }
    prompt.text = backend.decode(prompt.tokens);
    return prompt;
}

ApiResult<Prompt> read_prompt(const FieldReader& reader, const Backend& backend) {
    const Json* value = reader.find("prompt");
    if (value == nullptr) return refuse("prompt", "prompt: missing; expected a string.");
    // OpenAI also takes a list of prompts; one in a list is common and means the same.
    if (value->is_array() && value->size() == 1 && !(*value)[0].is_number()) value = &(*value)[0];
    if (value->is_string()) {
        const auto& text = value->get_ref<const std::string&>();
        EXO_TRY(check_prompt_size(text.size(), backend.model(), "prompt"));
        return Prompt{backend.encode_prompt(text), text};
    }
    if (value->is_array() && !value->empty()) {
        if (!(*value)[0].is_string() && !(*value)[0].is_array()) {
            return read_token_prompt(*value, backend);
        }
        return refuse_unsupported(
            "prompt", "prompt: several prompts in one request are not supported; send several.");
    }
    return refuse("prompt", std::format("prompt: expected a string or a list of token ids, not {}.",
                                        value->is_array() ? "an empty list" : kind_of(*value)));
}

class CompletionFormat final : public AnswerFormat {
  public:
    CompletionFormat(AnswerHead head, const Backend& backend, const GenerationFields& fields,
                     std::string echo)
        : head_(std::move(head)),
          backend_(&backend),
          want_logprobs_(fields.request.want_logprobs),
          echo_(std::move(echo)),
          offsets_(static_cast<std::size_t>(fields.choice_count)) {}

    [[nodiscard]] Json whole(std::span<const Choice> choices) const override {
        Json object = object_of("text_completion", head_);
        Json& list = object["choices"] = Json::array();
        for (std::size_t i = 0; i < choices.size(); ++i) {
            const Choice& choice = choices[i];
            std::size_t offset = 0;
            Json logprobs = logprobs_json(choice.logprobs, choice.top_logprobs, offset);
            list.push_back(choice_json(i, echo_ + choice.text, std::move(logprobs),
                                       finish_json(choice.finish)));
        }
        const engine::Usage usage = total_usage(choices);
        object["usage"] = usage_json(usage);
        object["timings"] = timings_json(usage);
        return object;
    }

    [[nodiscard]] Json opening(std::size_t index) const override {
        return echo_.empty() ? Json() : chunk_of(index, echo_, nullptr, nullptr);
    }

    [[nodiscard]] Json chunk(std::size_t index, const engine::GenerationEvent& event) override {
        if (event.text.empty() && !event.logprob && !event.finish) return nullptr;
        Json logprobs;
        if (event.logprob) {
            logprobs = logprobs_json(std::span(&*event.logprob, 1),
                                     std::span(&event.top_logprobs, 1), offsets_[index]);
        }
        return chunk_of(index, event.text, std::move(logprobs), finish_json(event.finish));
    }

    [[nodiscard]] Json closing(const engine::Usage& usage) const override {
        Json object = object_of("text_completion", head_);
        object["choices"] = Json::array();
        object["usage"] = usage_json(usage);
        object["timings"] = timings_json(usage);
        return object;
    }

  private:
    static Json choice_json(std::size_t index, std::string text, Json logprobs, Json finish) {
        return {{"text", std::move(text)},
                {"index", index},
                {"logprobs", std::move(logprobs)},
                {"finish_reason", std::move(finish)}};
    }

    [[nodiscard]] Json chunk_of(std::size_t index, std::string text, Json logprobs,
                                Json finish) const {
        Json object = object_of("text_completion", head_);
        object["choices"] = Json::array(
            {choice_json(index, std::move(text), std::move(logprobs), std::move(finish))});
        return object;
    }

    // The shape of 2021: parallel lists. `offset` counts characters of the text so far.
    [[nodiscard]] Json logprobs_json(std::span<const engine::TokenLogprob> logprobs,
                                     std::span<const std::vector<engine::TokenLogprob>> tops,
                                     std::size_t& offset) const {
        if (!want_logprobs_) return nullptr;
        Json lists = {{"tokens", Json::array()},
                      {"token_logprobs", Json::array()},
                      {"top_logprobs", Json::array()},
                      {"text_offset", Json::array()}};
        for (std::size_t i = 0; i < logprobs.size(); ++i) {
            lists["tokens"].push_back(unique_name(logprobs[i], *backend_));
            lists["token_logprobs"].push_back(finite_logprob(logprobs[i].logprob));
            Json alternatives = Json::object();
            for (const auto& top : tops[i]) {
                // Of tokens with one spelling the first, more probable one stays.
                alternatives.emplace(unique_name(top, *backend_), finite_logprob(top.logprob));
            }
            lists["top_logprobs"].push_back(std::move(alternatives));
            lists["text_offset"].push_back(offset);
            offset += character_count(logprobs[i].bytes);
        }
        return lists;
    }

    AnswerHead head_;
    const Backend* backend_;
    bool want_logprobs_;
    std::string echo_;
    std::vector<std::size_t> offsets_;  // per choice
};

void refuse_missing_completion_features(FieldReader& reader) {
    reader.unsupported("suffix", "text cannot be inserted before a suffix; leave it out.", {""});
    reader.unsupported("best_of", "only 1 is supported; use n.", {1});
    reader.unsupported("grammar", "grammars are not supported yet.");
    reader.unsupported("response_format", "JSON modes are not there yet.",
                       {Json{{"type", "text"}}});
}

}  // namespace

ApiResult<Answer> prepare_completion(std::string_view body, const Backend& backend,
                                     AnswerHead head) {
    const ModelInformation& model = backend.model();
    EXO_TRY_ASSIGN(const Json json, parse_json_object(body));
    FieldReader reader(json, "");
    GenerationFields fields;
    fields.request.max_tokens = completion_tokens_default;
    read_generation_fields(reader, model, fields);
    refuse_missing_completion_features(reader);
    bool echo = false;
    reader.boolean("echo", echo);
    std::optional<std::int64_t> logprob_count;
    reader.integer("logprobs", 0, completion_logprob_count_max, logprob_count);
    fields.request.want_logprobs = logprob_count.has_value();
    fields.request.top_logprob_count = static_cast<int>(logprob_count.value_or(0));
    if (echo && logprob_count) {
        reader.keep(refuse_unsupported("echo",
                                       "echo: log probabilities of the prompt are not there; "
                                       "use either echo or logprobs.")
                        .error());
    }
    EXO_TRY(reader.result());
    EXO_TRY_ASSIGN(Prompt prompt, read_prompt(reader, backend));
    EXO_TRY(check_prompt_length(prompt.tokens.size(), model, "prompt"));

    fields.request.prompt = std::move(prompt.tokens);
    head.model = model.id;
    Answer answer;
    answer.stream = fields.stream;
    answer.include_usage = fields.include_usage;
    answer.format = std::make_unique<CompletionFormat>(std::move(head), backend, fields,
                                                       echo ? std::move(prompt.text) : "");
    answer.requests = requests_of(fields);
    return answer;
}

}  // namespace exomesh::api
