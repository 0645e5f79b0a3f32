#include "api/answer_json.h"

#include <cmath>

namespace exomesh::api {

Json object_of(std::string_view kind, const AnswerHead& head) {
    return {{"id", head.id}, {"object", kind}, {"created", head.created_s}, {"model", head.model}};
}

Json usage_json(const engine::Usage& usage) {
    return {{"prompt_tokens", usage.prompt_tokens},
            {"completion_tokens", usage.completion_tokens},
            {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
            {"prompt_tokens_details", {{"cached_tokens", usage.prompt_tokens_cached}}}};
}

Json timings_json(const engine::Usage& usage) {
    const auto milliseconds = [](std::uint64_t time_us) {
        return static_cast<double>(time_us) / 1000.0;
    };
    const auto per_second = [](std::uint32_t count, std::uint64_t time_us) {
        return time_us == 0 ? 0.0 : static_cast<double>(count) * 1e6 / static_cast<double>(time_us);
    };
    const std::uint32_t computed = usage.prompt_tokens - usage.prompt_tokens_cached;
    // The first token comes out of the prompt's own computation.
    const std::uint32_t decoded = usage.completion_tokens > 0 ? usage.completion_tokens - 1 : 0;
    return {{"queue_ms", milliseconds(usage.queue_us)},
            {"prefill_ms", milliseconds(usage.prefill_us)},
            {"decode_ms", milliseconds(usage.decode_us)},
            {"prefill_tokens_per_second", per_second(computed, usage.prefill_us)},
            {"decode_tokens_per_second", per_second(decoded, usage.decode_us)}};
}

Json finish_json(const std::optional<engine::FinishReason>& finish) {
    if (!finish) return nullptr;
    switch (*finish) {
        case engine::FinishReason::stop:
            return "stop";
        case engine::FinishReason::length:
            return "length";
        case engine::FinishReason::cancelled:
        case engine::FinishReason::error:
            break;
    }
    return nullptr;
}

std::string token_text(const engine::TokenLogprob& logprob, const Backend& backend) {
    return logprob.bytes.empty() ? backend.token_name(logprob.token) : logprob.bytes;
}

double finite_logprob(float logprob) {
    constexpr double impossible = -9999.0;
    return std::isfinite(logprob) ? static_cast<double>(logprob) : impossible;
}

}  // namespace exomesh::api
