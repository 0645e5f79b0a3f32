#include "engine/evaluate.h"

#include <algorithm>
#include <string>

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
    std::uint32_t position = 0;
    while (position < tokens.size()) {
        const auto chunk =
            tokens.subspan(position, std::min<std::size_t>(chunk_length, tokens.size() - position));
        const SlotTokens batch{
            .slot = 0, .first_position = position, .tokens = chunk, .outputs = OutputRows::all};
        EXO_TRY_ASSIGN(const std::span<const float> logits, shard.compute({&batch, 1}));
        for (std::size_t i = 0; i < chunk.size(); ++i) {
            on_logits(position++, logits.subspan(i * length, length));
        }
    }
    return {};
}

}  // namespace exomesh::engine
