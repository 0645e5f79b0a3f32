// The backend that is an engine in this process.
#pragma once

#include "api/backend.h"

namespace exomesh::api {

class EngineBackend final : public Backend {
  public:
    // `engine` must outlive this. An empty `model_id` becomes the model's own name, in lower case.
    EngineBackend(engine::Engine& engine, std::string model_id, std::int64_t created_s);

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
    [[nodiscard]] engine::EngineInformation information() const override;

  private:
    engine::Engine* engine_;
    engine::ConversationEncoder conversation_;
    ModelInformation model_;
};

}  // namespace exomesh::api
