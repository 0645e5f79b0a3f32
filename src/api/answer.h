// From a request's JSON to what the engine is asked, and from the engine's events to the JSON that
// goes back: everything of the two generating endpoints that does no I/O.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/backend.h"
#include "api/errors.h"

namespace exomesh::api {

// The part every object of one answer has in common.
struct AnswerHead {
    std::string id;
    std::int64_t created_s = 0;
    std::string model = {};
};

// One choice of a whole answer, gathered from its events.
struct Choice {
    std::string text;
    std::vector<engine::TokenLogprob> logprobs;
    std::vector<std::vector<engine::TokenLogprob>> top_logprobs;  // one list per entry of logprobs
    std::optional<engine::FinishReason> finish;
    engine::Usage usage;
    std::optional<Error> error;
    std::size_t size_bytes = 0;  // roughly what it occupies while it is written as JSON

    void add(const engine::GenerationEvent& event);
};

// How an endpoint writes its answers.
class AnswerFormat {
  public:
    virtual ~AnswerFormat() = default;
    // The whole answer in one object.
    [[nodiscard]] virtual Json whole(std::span<const Choice> choices) const = 0;
    // Stream: what comes before a choice's first text; null: nothing.
    [[nodiscard]] virtual Json opening(std::size_t index) const = 0;
    // Stream: one event; null where it has nothing to tell. Called in order (offsets count up).
    [[nodiscard]] virtual Json chunk(std::size_t index, const engine::GenerationEvent& event) = 0;
    // Stream: the closing object with the usage of all choices.
    [[nodiscard]] virtual Json closing(const engine::Usage& usage) const = 0;
};

// What one request body asks for, ready to be submitted.
struct Answer {
    std::vector<engine::GenerateRequest> requests;  // one per choice
    std::unique_ptr<AnswerFormat> format;
    bool stream = false;
    bool include_usage = false;
};

// Parse, check and encode; may take long for a long prompt, so not on the I/O thread. `head.model`
// is filled in.
[[nodiscard]] ApiResult<Answer> prepare_chat_completion(std::string_view body,
                                                        const Backend& backend, AnswerHead head);
[[nodiscard]] ApiResult<Answer> prepare_completion(std::string_view body, const Backend& backend,
                                                   AnswerHead head);

// The prompt counts once, the answers' tokens add up.
[[nodiscard]] engine::Usage total_usage(std::span<const Choice> choices);

}  // namespace exomesh::api
