// One request to the engine and what comes back: plain values, shared by the CLI, the API and
// tests.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

using model::TokenId;

inline constexpr int top_logprob_count_max = 20;
inline constexpr std::size_t stop_string_count_max = 16;
inline constexpr std::size_t stop_string_bytes_max = 1024;

// Which token comes next. Order of application, as in llama.cpp's default chain: logit bias,
// penalties, top-k, top-p, min-p, temperature. temperature 0 is greedy.
struct SamplingOptions {
    float temperature = 0.8F;
    std::int32_t top_k = 40;  // 0: all
    float top_p = 0.95F;
    float min_p = 0.05F;
    float repetition_penalty =
        1.0F;  // 1: none; over the last penalty_window tokens, prompt included
    float frequency_penalty = 0.0F;  // over the generated tokens, as OpenAI defines it
    float presence_penalty = 0.0F;
    std::int32_t penalty_window = 64;
    std::map<TokenId, float> logit_bias;
    std::optional<std::uint64_t> seed;  // none: a fresh one each time
};

// A place for constrained output (JSON schema, grammars): the engine asks it before each sample.
// Owned by the request, used on the engine's thread only.
class Constraint {
  public:
    virtual ~Constraint() = default;
    // Sets the logits of forbidden tokens to -infinity. `logits` has one value per vocabulary
    // entry.
    virtual void mask(std::vector<float>& logits) = 0;
    virtual void accept(TokenId token) = 0;
};

struct GenerateRequest {
    std::vector<TokenId> prompt;  // not empty
    SamplingOptions sampling;
    std::uint32_t max_tokens = 0;   // 0: until the context is full
    std::vector<std::string> stop;  // the answer ends before the first of these
    bool ignore_end = false;        // benches: end-of-generation tokens do not end it
    bool want_logprobs = false;
    int top_logprob_count = 0;  // alternatives per token, 0 to top_logprob_count_max
    std::shared_ptr<Constraint> constraint;
};

struct TokenLogprob {
    TokenId token = model::token_none;
    std::string bytes;  // the token's own bytes, not UTF-8 completed
    float logprob =
        0.0F;  // natural logarithm, of the model's own distribution (before sampling options)
};

enum class FinishReason { stop, length, cancelled, error };

struct Usage {
    std::uint32_t prompt_tokens = 0;
    std::uint32_t prompt_tokens_cached = 0;  // of these, found in the KV cache
    std::uint32_t completion_tokens = 0;
    std::uint64_t queue_us = 0;    // submit → first prompt token computed
    std::uint64_t prefill_us = 0;  // → first token sampled
    std::uint64_t decode_us = 0;   // → last token sampled
};

// One event per sampled token, then exactly one with `finish` set (which may carry the last text).
struct GenerationEvent {
    std::string
        text;  // whole UTF-8 sequences; empty while one is incomplete or may begin a stop string
    std::optional<TokenLogprob> logprob;     // where asked for
    std::vector<TokenLogprob> top_logprobs;  // most probable first
    std::optional<FinishReason> finish;
    std::string stop_match;      // the stop string that ended it, else empty
    Usage usage;                 // final with `finish`
    std::optional<Error> error;  // set with FinishReason::error
};

using RequestId = std::uint64_t;

// Called on the engine's thread, in order, never after the event with `finish`. Must not block and
// must not call back into the engine except Engine::cancel.
using GenerationCallback = std::function<void(const GenerationEvent&)>;

}  // namespace exomesh::engine
