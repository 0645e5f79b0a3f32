#include "api/engine_backend.h"

#include <algorithm>
#include <utility>

namespace exomesh::api {

namespace {

// "SmolLM2 135M Instruct" → "smollm2-135m-instruct"
std::string id_of(const model::Architecture& architecture) {
    std::string id;
    for (const char character :
         architecture.name.empty() ? architecture.family : architecture.name) {
        const bool upper = character >= 'A' && character <= 'Z';
        const bool plain = (character >= 'a' && character <= 'z') ||
                           (character >= '0' && character <= '9') || character == '.' ||
                           character == '_';
        if (upper) {
            id += static_cast<char>(character - 'A' + 'a');
        } else if (plain) {
            id += character;
        } else if (!id.empty() && id.back() != '-') {
            id += '-';
        }
    }
    while (id.ends_with('-')) id.pop_back();
    return id.empty() ? "model" : id;
}

}  // namespace

EngineBackend::EngineBackend(engine::Engine& engine, std::string model_id, std::int64_t created_s)
    : engine_(&engine), conversation_(engine) {
    model_.id = model_id.empty() ? id_of(engine.architecture()) : std::move(model_id);
    model_.created_s = created_s;
    model_.context_length = engine.information().context_length;
    const model::Tokenizer& tokenizer = engine.tokenizer();
    model_.vocabulary_size = tokenizer.vocabulary_size();
    for (std::size_t i = 0; i < model_.vocabulary_size; ++i) {
        const auto token = static_cast<engine::TokenId>(i);
        model_.token_bytes_max =
            std::max(model_.token_bytes_max, tokenizer.piece_with_specials(token).size());
    }
}

Result<engine::ConversationPrompt> EngineBackend::encode_conversation(
    const std::vector<engine::Message>& messages,
    const engine::ConversationOptions& options) const {
    return conversation_.encode(messages, options);
}

std::vector<engine::TokenId> EngineBackend::encode_prompt(std::string_view text) const {
    const model::Tokenizer& tokenizer = engine_->tokenizer();
    const std::string_view beginning =
        tokenizer.piece_with_specials(tokenizer.beginning_of_sequence());
    const bool begins = !beginning.empty() && text.starts_with(beginning);
    return tokenizer.encode(
        text, model::SpecialTokens::parsed,
        begins ? model::SequenceStart::none : model::SequenceStart::as_model_wants);
}

std::string EngineBackend::decode(const std::vector<engine::TokenId>& tokens) const {
    return engine_->tokenizer().decode(tokens);
}

std::string EngineBackend::token_name(engine::TokenId token) const {
    return std::string(engine_->tokenizer().piece_with_specials(token));
}

Result<engine::RequestId> EngineBackend::submit(engine::GenerateRequest request,
                                                engine::GenerationCallback callback) {
    return engine_->submit(std::move(request), std::move(callback));
}

void EngineBackend::cancel(engine::RequestId id) {
    engine_->cancel(id);
}

engine::EngineStatistics EngineBackend::statistics() const {
    return engine_->statistics();
}

engine::EngineInformation EngineBackend::information() const {
    return engine_->information();
}

}  // namespace exomesh::api
