#include "api/answer.h"

namespace exomesh::api {

void Choice::add(const engine::GenerationEvent& event) {
    text += event.text;
    if (event.logprob) {
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
