// What one request is told, and whether the callback keeps its promises. For tests.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <format>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/generation.h"

namespace exomesh::engine::testing {

// Must outlive the request.
class Answer {
  public:
    GenerationCallback callback() {
        return [this](const GenerationEvent& event) {
            const std::scoped_lock lock(mutex_);
            EXPECT_FALSE(finish_) << "an event after the last one";
            text += event.text;
            said += event.text;
            if (event.logprob) {
                logprobs.push_back(*event.logprob);
                said += std::format(" {}:{}", event.logprob->token, event.logprob->logprob);
            }
            for (const TokenLogprob& other : event.top_logprobs)
                said += std::format(" or {}:{}", other.token, other.logprob);
            ++event_count_;
            usage = event.usage;
            error = event.error;
            finish_ = event.finish;
            changed_.notify_all();
        };
    }
    FinishReason wait() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return finish_.has_value(); });
        return *finish_;
    }
    void wait_for_events(int count) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return event_count_ >= count || finish_.has_value(); });
    }

    // After wait().
    std::string text;
    std::string said;  // text, tokens and probabilities, to the last bit
    std::vector<TokenLogprob> logprobs;
    Usage usage;
    std::optional<Error> error;

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<FinishReason> finish_;
    int event_count_ = 0;
};

}  // namespace exomesh::engine::testing
