#include "engine/evaluate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/assert.h"

namespace exomesh::engine {

Result<void> evaluate(StepExecutor& shard, std::span<const model::TokenId> tokens,
                      std::uint32_t chunk_length,
                      const std::function<void(std::uint32_t, std::span<const float>)>& on_logits) {
    if (tokens.size() > shard.context_length()) {
        return fail(ErrorCode::invalid_argument, "the text has " + std::to_string(tokens.size()) +
                                                     " tokens, the context holds " +
                                                     std::to_string(shard.context_length()) + ".");
    }
    const std::size_t length = shard.output_length();
    const std::size_t affordable = std::max<std::size_t>(1, evaluate_bytes_max / 4 / length);
    const std::size_t step_length = std::min<std::size_t>(chunk_length, affordable);
    std::uint32_t position = 0;
    while (position < tokens.size()) {
        const auto chunk =
            tokens.subspan(position, std::min(step_length, tokens.size() - position));
        const SlotTokens batch{
            .slot = 0, .first_position = position, .tokens = chunk, .outputs = OutputRows::all};
        EXO_TRY_ASSIGN(const std::span<const float> logits, shard.compute({&batch, 1}));
        for (std::size_t i = 0; i < chunk.size(); ++i) {
            on_logits(position++, logits.subspan(i * length, length));
        }
    }
    return {};
}

double log_probability(std::span<const float> logits, model::TokenId token) {
    EXO_ASSERT(token >= 0 && static_cast<std::size_t>(token) < logits.size());
    const float largest = *std::ranges::max_element(logits);
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    return logits[static_cast<std::size_t>(token)] - largest - std::log(sum);
}

Result<Likelihood> evaluate_windows(StepExecutor& shard, std::span<const model::TokenId> tokens,
                                    const WindowOptions& options,
                                    const std::function<void(const Likelihood&)>& on_window) {
    EXO_ASSERT(options.window_length >= 2);
    const std::size_t first_count = options.first == model::token_none ? 0 : 1;
    Likelihood whole;
    std::vector<model::TokenId> window;
    while (!tokens.empty()) {
        const std::size_t count = std::min(options.window_length - first_count, tokens.size());
        window.assign(first_count, options.first);
        window.insert(window.end(), tokens.begin(),
                      tokens.begin() + static_cast<std::ptrdiff_t>(count));
        tokens = tokens.subspan(count);
        Likelihood part;
        EXO_TRY(evaluate(shard, window, options.chunk_length,
                         [&](std::uint32_t position, std::span<const float> logits) {
                             if (position + 1 == window.size()) return;
                             ++part.token_count;
                             part.negative_log_likelihood -=
                                 log_probability(logits, window[position + 1]);
                         }));
        whole.token_count += part.token_count;
        whole.negative_log_likelihood += part.negative_log_likelihood;
        on_window(part);
    }
    return whole;
}

}  // namespace exomesh::engine
