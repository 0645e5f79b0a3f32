#include "api/generation_fields.h"

#include <charconv>
#include <cstdint>
#include <format>
#include <limits>
#include <utility>

#include "api/limits.h"

namespace exomesh::api {

namespace {

void read_model(FieldReader& reader, const ModelInformation& model) {
    std::string id = model.id;
    reader.string("model", id);
    if (id == model.id) return;
    reader.keep({404, std::format("model '{}' is not served here; '{}' is.", id, model.id), "model",
                 "model_not_found"});
}

void read_sampling(FieldReader& reader, engine::SamplingOptions& sampling) {
    reader.number("temperature", 0, 2, sampling.temperature);
    reader.number("top_p", 0, 1, sampling.top_p);
    reader.number("min_p", 0, 1, sampling.min_p);
    std::int64_t top_k = sampling.top_k;
    reader.integer("top_k", 0, 1 << 20, top_k);
    sampling.top_k = static_cast<std::int32_t>(top_k);
    reader.number("repetition_penalty", 0.01, 10, sampling.repetition_penalty);
    reader.number("frequency_penalty", -2, 2, sampling.frequency_penalty);
    reader.number("presence_penalty", -2, 2, sampling.presence_penalty);
    std::optional<std::int64_t> seed;
    reader.integer("seed", std::numeric_limits<std::int64_t>::min(),
                   std::numeric_limits<std::int64_t>::max(), seed);
    if (seed) sampling.seed = static_cast<std::uint64_t>(*seed);
}

std::unexpected<ApiError> refuse_logit_bias(std::string_view key, std::size_t vocabulary_size) {
    return refuse("logit_bias", std::format("logit_bias: '{}' is no token id of this model; ids go "
                                            "from 0 to {}.",
                                            key, vocabulary_size - 1));
}

void read_logit_bias(FieldReader& reader, const ModelInformation& model,
                     engine::SamplingOptions& sampling) {
    const Json* biases = reader.find("logit_bias");
    if (biases == nullptr) return;
    if (!biases->is_object() || biases->size() > logit_bias_count_max) {
        reader.keep(refuse("logit_bias",
                           std::format("logit_bias: expected an object of at most {} token ids and "
                                       "numbers from -100 to 100.",
                                       logit_bias_count_max))
                        .error());
        return;
    }
    FieldReader values(*biases, "logit_bias");
    for (const auto& [key, value] : biases->items()) {
        std::uint32_t token = 0;
        const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token);
        if (code != std::errc() || end != key.data() + key.size() ||
            token >= model.vocabulary_size) {
            reader.keep(refuse_logit_bias(key, model.vocabulary_size).error());
            return;
        }
        values.number(key, -100, 100, sampling.logit_bias[static_cast<engine::TokenId>(token)]);
    }
    if (values.error()) reader.keep(*values.error());
}

void read_stop(FieldReader& reader, std::vector<std::string>& stop) {
    const Json* value = reader.find("stop");
    if (value == nullptr) return;
    const std::string expected = std::format(
        "stop: expected a string or a list of at most {} strings, each of 1 to {} bytes.",
        stop_count_max, engine::stop_string_bytes_max);
    const auto add = [&](const Json& entry) {
        if (!entry.is_string()) return false;
        const auto& text = entry.get_ref<const std::string&>();
        if (text.empty() || text.size() > engine::stop_string_bytes_max) return false;
        stop.push_back(text);
        return true;
    };
    bool good = value->is_array() ? value->size() <= stop_count_max : add(*value);
    if (value->is_array()) {
        for (std::size_t i = 0; good && i < value->size(); ++i) good = add((*value)[i]);
    }
    if (!good) reader.keep(refuse("stop", expected).error());
}

void read_max_tokens(FieldReader& reader, engine::GenerateRequest& request) {
    constexpr std::int64_t maximum = std::numeric_limits<std::int32_t>::max();
    std::int64_t max_tokens = request.max_tokens;
    reader.integer("max_tokens", 1, maximum, max_tokens);
    reader.integer("max_completion_tokens", 1, maximum, max_tokens);  // the newer name wins
    request.max_tokens = static_cast<std::uint32_t>(max_tokens);
}

void read_stream(FieldReader& reader, GenerationFields& fields) {
    reader.boolean("stream", fields.stream);
    const Json* options = reader.find("stream_options");
    if (options == nullptr) return;
    if (!options->is_object()) {
        reader.keep(refuse("stream_options", "stream_options: expected an object.").error());
        return;
    }
    if (!fields.stream) {
        reader.keep(
            refuse("stream_options", "stream_options: only allowed together with \"stream\": true.")
                .error());
        return;
    }
    FieldReader inner(*options, "stream_options");
    inner.boolean("include_usage", fields.include_usage);
    if (inner.error()) reader.keep(*inner.error());
}

}  // namespace

void read_generation_fields(FieldReader& reader, const ModelInformation& model,
                            GenerationFields& fields) {
    read_model(reader, model);
    read_sampling(reader, fields.request.sampling);
    read_logit_bias(reader, model, fields.request.sampling);
    read_stop(reader, fields.request.stop);
    read_max_tokens(reader, fields.request);
    read_stream(reader, fields);
    reader.boolean("ignore_eos", fields.request.ignore_end);
    std::int64_t choice_count = fields.choice_count;
    reader.integer("n", 1, choice_count_max, choice_count);
    fields.choice_count = static_cast<int>(choice_count);
}

std::vector<engine::GenerateRequest> requests_of(const GenerationFields& fields) {
    std::vector<engine::GenerateRequest> requests;
    for (int i = 0; i < fields.choice_count; ++i) {
        requests.push_back(fields.request);
        auto& seed = requests.back().sampling.seed;
        if (seed) *seed += static_cast<std::uint64_t>(i);
    }
    return requests;
}

ApiResult<> check_prompt_size(std::size_t size_bytes, const ModelInformation& model,
                              const std::string& parameter) {
    if (size_bytes <= model.context_length * model.token_bytes_max) return {};
    return refuse(
        parameter,
        std::format("{}: the text has {} bytes, more than this model's context of {} tokens can "
                    "hold. Shorten it, or serve the model with a longer context.",
                    parameter, size_bytes, model.context_length),
        "context_length_exceeded");
}

ApiResult<> check_prompt_length(std::size_t token_count, const ModelInformation& model,
                                const std::string& parameter) {
    if (token_count == 0) return refuse(parameter, parameter + ": the prompt has no tokens.");
    if (token_count < model.context_length) return {};
    return refuse(
        parameter,
        std::format("{}: the prompt has {} tokens, but this model's context holds {} with "
                    "the answer. Shorten it, or serve the model with a longer context.",
                    parameter, token_count, model.context_length),
        "context_length_exceeded");
}

}  // namespace exomesh::api
