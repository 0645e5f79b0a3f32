// One running request: what its prompt, its sampler and its text have come to. Used on the engine's
// compute thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

class Sequence {
  public:
    // Checks the sampling options and stop strings.
    [[nodiscard]] static Result<Sequence> create(RequestId id, GenerateRequest request,
                                                 GenerationCallback callback,
                                                 const model::Tokenizer& tokenizer);

    [[nodiscard]] RequestId id() const { return id_; }
    [[nodiscard]] const std::vector<TokenId>& prompt() const { return request_.prompt; }
    [[nodiscard]] const Usage& usage() const { return usage_; }

    // The request got a slot that already holds `cached_count` of its prompt's tokens.
    void start(std::uint32_t cached_count);

    // What no step computes yet: the rest of the prompt, or the one token sampled last.
    [[nodiscard]] std::span<const TokenId> tokens_left() const;
    // From the first sampled token on.
    [[nodiscard]] bool decoding() const { return sampled_ != model::token_none; }
    // A step was started with this many of tokens_left(). They stay where they are.
    void tokens_started(std::size_t token_count);

    // What the next advance() needs of its row. Its adjustments stay where they are until then.
    [[nodiscard]] RowNeeds row_needs() const;

    // Samples from the row, tells the callback. True: this was the last token (the callback has
    // had its final event). `positions_left`: how many more tokens the slot has room for.
    [[nodiscard]] bool advance(const OutputRow& row, std::uint32_t positions_left);

    // Ends the request early.
    void cancel() { finish(FinishReason::cancelled, {}); }
    void fail_with(const Error& error);
    [[nodiscard]] bool has_failed() const { return has_failed_; }

  private:
    Sequence(RequestId id, GenerateRequest request, GenerationCallback callback,
             const model::Tokenizer& tokenizer, Sampler sampler, TextStream text);

    void note_time();
    [[nodiscard]] Result<void> add_logprobs(const OutputRow& row, TokenId token,
                                            GenerationEvent& event);
    void finish(FinishReason reason, GenerationEvent event);

    RequestId id_;
    GenerateRequest request_;
    GenerationCallback callback_;
    const model::Tokenizer* tokenizer_;
    Sampler sampler_;
    TextStream text_;
    std::size_t prompt_started_ = 0;
    TokenId sampled_ = model::token_none;
    bool sampled_is_started_ = false;
    bool has_failed_ = false;
    Usage usage_;
    std::uint64_t submitted_us_ = 0;
    std::uint64_t started_us_ = 0;
    std::uint64_t first_token_us_ = 0;
};

}  // namespace exomesh::engine
