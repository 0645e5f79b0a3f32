#include "api/answer.h"

namespace exomesh::api {

namespace {

// An object with a token's name, bytes and probability, as a value and as text: measured with
// nlohmann's ordered_json on 64-bit systems. Each byte of the token is a value and a number of it.
constexpr std::size_t logprob_bytes = 512;
constexpr std::size_t bytes_per_token_byte = 24;

std::size_t json_bytes_of(const engine::TokenLogprob& logprob) {
    return logprob_bytes + bytes_per_token_byte * logprob.bytes.size();
}

}  // namespace

void Choice::add(const engine::GenerationEvent& event) {
    text += event.text;
    size_bytes += event.text.size();
    if (event.logprob) {
        size_bytes += json_bytes_of(*event.logprob);
        for (const engine::TokenLogprob& top : event.top_logprobs) size_bytes += json_bytes_of(top);
        logprobs.push_back(*event.logprob);
        top_logprobs.push_back(event.top_logprobs);
    }
    if (!event.finish) return;
    finish = event.finish;
    usage = event.usage;
    error = event.error;
}

engine::Usage total_usage(std::span<const Choice> choices) {
    engine::Usage total;
    for (std::size_t i = 0; i < choices.size(); ++i) {
        const engine::Usage& usage = choices[i].usage;
        if (i == 0) {
            total = usage;
        } else {
            total.completion_tokens += usage.completion_tokens;
        }
    }
    return total;
}

}  // namespace exomesh::api
