// The body of POST /v1/chat/completions as values.
#pragma once

#include <vector>

#include "api/generation_fields.h"
#include "engine/conversation.h"

namespace exomesh::api {

struct ChatRequest {
    GenerationFields generation;
    std::vector<engine::Message> messages;
    Json template_variables = Json::object();  // chat_template_kwargs
};

[[nodiscard]] ApiResult<ChatRequest> read_chat_request(const Json& body,
                                                       const ModelInformation& model);

}  // namespace exomesh::api
