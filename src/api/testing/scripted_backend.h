// A backend that answers from a script, on a thread of its own as the engine does. Its vocabulary
// is the 256 bytes, so prompts and answers read as text. For tests of everything that is HTTP; the
// real engine is tested in tests/api.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "api/backend.h"

namespace exomesh::api {

struct Script {
    std::vector<std::string> pieces = {"Hel", "lo", "!"};  // one event each
    std::chrono::milliseconds pause{0};                    // before each piece
    bool endless = false;                                  // the pieces repeat until cancelled
    engine::FinishReason finish = engine::FinishReason::stop;
    std::optional<Error> refusal = {};           // what submit says instead
    std::optional<Error> template_failure = {};  // what encode_conversation says instead
    std::optional<Error> failure = {};           // with FinishReason::error
    std::string device_failure = {};
};

class ScriptedBackend final : public Backend {
  public:
    explicit ScriptedBackend(Script script = {});
    ~ScriptedBackend() override;

    [[nodiscard]] const ModelInformation& model() const override { return model_; }
    [[nodiscard]] Result<engine::ConversationPrompt> encode_conversation(
        const std::vector<engine::Message>& messages,
        const engine::ConversationOptions& options) const override;
    [[nodiscard]] std::vector<engine::TokenId> encode_prompt(std::string_view text) const override;
    [[nodiscard]] std::string decode(const std::vector<engine::TokenId>& tokens) const override;
    [[nodiscard]] std::string token_name(engine::TokenId token) const override;
    [[nodiscard]] Result<engine::RequestId> submit(engine::GenerateRequest request,
                                                   engine::GenerationCallback callback) override;
    void cancel(engine::RequestId id) override;
    [[nodiscard]] engine::EngineStatistics statistics() const override;
    [[nodiscard]] engine::EngineInformation information() const override { return information_; }

    // The requests submitted so far, and how many of them were cancelled before their end.
    [[nodiscard]] std::vector<engine::GenerateRequest> requests() const;
    [[nodiscard]] std::size_t cancelled_count() const { return cancelled_count_; }

  private:
    void play(engine::RequestId id, const engine::GenerateRequest& request,
              const engine::GenerationCallback& callback);
    [[nodiscard]] bool pause_or_cancelled(engine::RequestId id);

    Script script_;
    ModelInformation model_;
    engine::EngineInformation information_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<engine::GenerateRequest> requests_;
    std::set<engine::RequestId> cancelled_;
    std::atomic<std::size_t> cancelled_count_ = 0;
    std::vector<std::jthread> players_;  // one per request
};

}  // namespace exomesh::api
