#include "engine/sequence.h"

#include <string>
#include <utility>

#include "base/assert.h"
#include "platform/clock.h"

namespace exomesh::engine {

Result<Sequence> Sequence::create(RequestId id, GenerateRequest request,
                                  GenerationCallback callback, const model::Tokenizer& tokenizer) {
    EXO_TRY_ASSIGN(Sampler sampler, Sampler::create(request.sampling, tokenizer.vocabulary_size(),
                                                    request.constraint));
    EXO_TRY_ASSIGN(TextStream text, TextStream::create(request.stop));
    if (request.top_logprob_count < 0 || request.top_logprob_count > top_logprob_count_max) {
        return fail(ErrorCode::invalid_argument, "top logprobs must lie between 0 and " +
                                                     std::to_string(top_logprob_count_max) + ".");
    }
    return Sequence(id, std::move(request), std::move(callback), tokenizer, std::move(sampler),
                    std::move(text));
}

Sequence::Sequence(RequestId id, GenerateRequest request, GenerationCallback callback,
                   const model::Tokenizer& tokenizer, Sampler sampler, TextStream text)
    : id_(id),
      request_(std::move(request)),
      callback_(std::move(callback)),
      tokenizer_(&tokenizer),
      sampler_(std::move(sampler)),
      text_(std::move(text)),
      submitted_us_(platform::monotonic_us()) {
    usage_.prompt_tokens = static_cast<std::uint32_t>(request_.prompt.size());
}

void Sequence::start(std::uint32_t cached_count) {
    sampler_.accept_prompt(request_.prompt);  // here: a request that waits holds no tables
    prompt_started_ = cached_count;
    usage_.prompt_tokens_cached = cached_count;
    started_us_ = platform::monotonic_us();
    usage_.queue_us = started_us_ - submitted_us_;
}

std::span<const TokenId> Sequence::tokens_left() const {
    if (decoding()) return {&sampled_, sampled_is_started_ ? 0U : 1U};
    return std::span(request_.prompt).subspan(prompt_started_);
}

void Sequence::tokens_started(std::size_t token_count) {
    EXO_ASSERT(token_count > 0 && token_count <= tokens_left().size());
    if (decoding()) {
        sampled_is_started_ = true;
    } else {
        prompt_started_ += token_count;
    }
}

void Sequence::note_time() {
    const std::uint64_t now_us = platform::monotonic_us();
    if (usage_.completion_tokens == 1) {
        first_token_us_ = now_us;
        usage_.prefill_us = now_us - started_us_;
    } else {
        usage_.decode_us = now_us - first_token_us_;
    }
}

Result<void> Sequence::add_logprobs(const OutputRow& row, TokenId token, GenerationEvent& event) {
    EXO_TRY_ASSIGN(const LogProbabilities found,
                   sampler_.log_softmax_top(row, token, request_.top_logprob_count));
    const auto named = [&](TokenId id, float logprob) {
        return TokenLogprob{id, std::string(tokenizer_->piece_with_specials(id)), logprob};
    };
    event.logprob = named(token, found.chosen);
    for (const LogProbability& one : found.top) {
        event.top_logprobs.push_back(named(one.token, one.logprob));
    }
    return {};
}

RowNeeds Sequence::row_needs() const {
    return sampler_.row_needs(request_.want_logprobs ? std::optional(request_.top_logprob_count)
                                                     : std::nullopt);
}

bool Sequence::advance(const OutputRow& row, std::uint32_t positions_left) {
    const auto sampled = sampler_.sample(row);
    if (!sampled) {
        fail_with(sampled.error());
        return true;
    }
    const TokenId token = *sampled;
    sampler_.accept(token);
    sampled_ = token;
    sampled_is_started_ = false;
    ++usage_.completion_tokens;
    note_time();

    GenerationEvent event;
    if (request_.want_logprobs) {
        if (const auto added = add_logprobs(row, token, event); !added) {
            fail_with(added.error());
            return true;
        }
    }
    if (!request_.ignore_end && tokenizer_->ends_generation(token)) {
        finish(FinishReason::stop, std::move(event));
        return true;
    }
    TextChunk chunk = text_.push(tokenizer_->piece(token));
    event.text = std::move(chunk.text);
    if (chunk.stop_match) {
        event.stop_match = *std::move(chunk.stop_match);
        finish(FinishReason::stop, std::move(event));
        return true;
    }
    const bool enough = request_.max_tokens != 0 && usage_.completion_tokens >= request_.max_tokens;
    if (enough || positions_left == 0) {
        finish(FinishReason::length, std::move(event));
        return true;
    }
    event.usage = usage_;
    callback_(event);
    return false;
}

void Sequence::finish(FinishReason reason, GenerationEvent event) {
    event.text += text_.finish();
    event.finish = reason;
    event.usage = usage_;
    callback_(event);
}

void Sequence::fail_with(const Error& error) {
    has_failed_ = true;
    GenerationEvent event;
    event.error = error;
    finish(FinishReason::error, std::move(event));
}

}  // namespace exomesh::engine
