#include "api/testing/scripted_backend.h"

#include <utility>

namespace exomesh::api {

ScriptedBackend::ScriptedBackend(Script script) : script_(std::move(script)) {
    model_ = {.id = "scripted",
              .created_s = 1,
              .context_length = 4096,
              .vocabulary_size = 256,
              .token_bytes_max = 2};  // as if; each is one byte
    information_.device = "script";
    information_.slot_count = 4;
}

ScriptedBackend::~ScriptedBackend() {
    {
        const std::lock_guard lock(mutex_);
        for (std::size_t id = 0; id < requests_.size(); ++id) cancelled_.insert(id);
    }
    changed_.notify_all();
    players_.clear();  // joins
}

Result<engine::ConversationPrompt> ScriptedBackend::encode_conversation(
    const std::vector<engine::Message>& messages, const engine::ConversationOptions&) const {
    if (script_.template_failure) return std::unexpected(*script_.template_failure);
    return engine::ConversationPrompt{encode_prompt(engine::plain_conversation(messages)),
                                      {engine::plain_conversation_stop}};
}

std::vector<engine::TokenId> ScriptedBackend::encode_prompt(std::string_view text) const {
    std::vector<engine::TokenId> tokens;
    for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte));
    return tokens;
}

std::string ScriptedBackend::decode(const std::vector<engine::TokenId>& tokens) const {
    std::string text;
    for (const engine::TokenId token : tokens) text += static_cast<char>(token);
    return text;
}

std::string ScriptedBackend::token_name(engine::TokenId token) const {
    return decode({token});
}

Result<engine::RequestId> ScriptedBackend::submit(engine::GenerateRequest request,
                                                  engine::GenerationCallback callback) {
    if (script_.refusal) return std::unexpected(*script_.refusal);
    const std::lock_guard lock(mutex_);
    const engine::RequestId id = requests_.size();
    requests_.push_back(request);
    players_.emplace_back([this, id, request = std::move(request), callback = std::move(callback)] {
        play(id, request, callback);
    });
    return id;
}

bool ScriptedBackend::pause_or_cancelled(engine::RequestId id) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, script_.pause, [&] { return cancelled_.contains(id); });
}

void ScriptedBackend::play(engine::RequestId id, const engine::GenerateRequest& request,
                           const engine::GenerationCallback& callback) {
    engine::Usage usage{.prompt_tokens = static_cast<std::uint32_t>(request.prompt.size()),
                        .prompt_tokens_cached = 1};
    engine::FinishReason finish = script_.finish;
    for (std::size_t i = 0; script_.endless || i < script_.pieces.size(); ++i) {
        if (pause_or_cancelled(id)) {
            finish = engine::FinishReason::cancelled;
            ++cancelled_count_;
            break;
        }
        if (request.max_tokens > 0 && usage.completion_tokens == request.max_tokens) {
            finish = engine::FinishReason::length;
            break;
        }
        const std::string& piece = script_.pieces[i % script_.pieces.size()];
        ++usage.completion_tokens;
        engine::GenerationEvent event;
        event.text = piece;
        if (request.want_logprobs) {
            const engine::TokenLogprob logprob{.token = 65, .bytes = piece, .logprob = -0.5F};
            event.logprob = logprob;
            event.top_logprobs.assign(static_cast<std::size_t>(request.top_logprob_count), logprob);
        }
        callback(event);
    }
    engine::GenerationEvent last;
    last.finish = finish;
    last.usage = usage;
    last.error = script_.failure;
    callback(last);
}

void ScriptedBackend::cancel(engine::RequestId id) {
    {
        const std::lock_guard lock(mutex_);
        cancelled_.insert(id);
    }
    changed_.notify_all();
}

engine::EngineStatistics ScriptedBackend::statistics() const {
    engine::EngineStatistics statistics;
    const std::lock_guard lock(mutex_);
    statistics.requests_total = requests_.size();
    statistics.device_failure = script_.device_failure;
    return statistics;
}

std::vector<engine::GenerateRequest> ScriptedBackend::requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
}

}  // namespace exomesh::api
