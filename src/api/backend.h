// What the HTTP server needs from whatever answers its requests: the engine (engine_backend.h), and
// in tests a scripted body.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/conversation.h"
#include "engine/engine.h"
#include "engine/generation.h"

namespace exomesh::api {

struct ModelInformation {
    std::string id;              // what clients name in "model"
    std::int64_t created_s = 0;  // Unix time
    std::uint32_t context_length = 0;
    std::size_t vocabulary_size = 0;
    std::size_t token_bytes_max =
        0;  // of the longest token: bounds the tokens of a text from below
};

// Threads: every method may be called from any thread. Must outlive the Server.
class Backend {
  public:
    virtual ~Backend() = default;

    [[nodiscard]] virtual const ModelInformation& model() const = 0;

    [[nodiscard]] virtual Result<engine::ConversationPrompt> encode_conversation(
        const std::vector<engine::Message>& messages,
        const engine::ConversationOptions& options) const = 0;
    // A whole prompt as its writer wants it: names of control tokens in it are control tokens, and
    // the model's beginning-of-sequence token goes in front unless it is there.
    [[nodiscard]] virtual std::vector<engine::TokenId> encode_prompt(
        std::string_view text) const = 0;
    [[nodiscard]] virtual std::string decode(const std::vector<engine::TokenId>& tokens) const = 0;
    // The name of a control token, the bytes of any other.
    [[nodiscard]] virtual std::string token_name(engine::TokenId token) const = 0;

    // As Engine::submit and Engine::cancel.
    [[nodiscard]] virtual Result<engine::RequestId> submit(engine::GenerateRequest request,
                                                           engine::GenerationCallback callback) = 0;
    virtual void cancel(engine::RequestId id) = 0;

    [[nodiscard]] virtual engine::EngineStatistics statistics() const = 0;
    [[nodiscard]] virtual engine::EngineInformation information() const = 0;
};

}  // namespace exomesh::api
