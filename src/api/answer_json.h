// Pieces of JSON that both generating endpoints write alike.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/answer.h"

namespace exomesh::api {

// {"id", "object", "created", "model"}
[[nodiscard]] Json object_of(std::string_view kind, const AnswerHead& head);
[[nodiscard]] Json usage_json(const engine::Usage& usage);
// Not OpenAI's: where the time went, in milliseconds, and tokens per second.
[[nodiscard]] Json timings_json(const engine::Usage& usage);
// "stop", "length" or null.
[[nodiscard]] Json finish_json(const std::optional<engine::FinishReason>& finish);
// The token's bytes, or the name of a control token.
[[nodiscard]] std::string token_text(const engine::TokenLogprob& logprob, const Backend& backend);
// JSON has no infinity: OpenAI writes -9999 for a token that cannot come.
[[nodiscard]] double finite_logprob(float logprob);

}  // namespace exomesh::api
