#include "api/chat_request.h"

#include <array>
#include <format>
#include <string>
#include <string_view>
#include <utility>

#include "api/limits.h"

namespace exomesh::api {

namespace {

// The text of one part of a content list, appended to `text`.
ApiResult<> read_part(const Json& part, const std::string& path, std::string& text) {
    if (!part.is_object()) {
        return refuse(path, std::format("{}: expected an object such as {{\"type\": \"text\", "
                                        "\"text\": \"...\"}}, not {}.",
                                        path, kind_of(part)));
    }
    FieldReader reader(part, path);
    std::string type;
    reader.string("type", type);
    if (!reader.error() && type != "text") {
        return refuse_unsupported(
            reader.path_of("type"),
            std::format("{}: '{}' is not supported; this server takes parts of "
                        "type 'text' only.",
                        reader.path_of("type"), type));
    }
    const Json* value = reader.find("text");
    if (!reader.error() && (value == nullptr || !value->is_string())) {
        return refuse(reader.path_of("text"),
                      std::format("{}: expected a string.", reader.path_of("text")));
    }
    if (reader.error()) return reader.result();
    text += value->get_ref<const std::string&>();
    return {};
}

ApiResult<std::string> read_content(const Json& message, const std::string& message_path) {
    const std::string path = message_path + ".content";
    const auto content = message.find("content");
    if (content == message.end() || content->is_null()) {
        return refuse(path,
                      std::format("{}: missing; expected a string or a list of parts.", path));
    }
    if (content->is_string()) return content->get<std::string>();
    if (!content->is_array()) {
        return refuse(path, std::format("{}: expected a string or a list of parts, not {}.", path,
                                        kind_of(*content)));
    }
    if (content->size() > content_part_count_max) {
        return refuse(path, std::format("{}: {} parts; at most {} are allowed.", path,
                                        content->size(), content_part_count_max));
    }
    std::string text;
    for (std::size_t i = 0; i < content->size(); ++i) {
        EXO_TRY(read_part((*content)[i], std::format("{}[{}]", path, i), text));
    }
    return text;
}

// The role as templates know it: "developer" is the newer name of "system".
ApiResult<std::string> read_role(const FieldReader& reader) {
    const std::string path = reader.path_of("role");
    constexpr std::string_view allowed = "'system', 'developer', 'user', 'assistant' or 'tool'";
    const Json* role = reader.find("role");
    if (role == nullptr || !role->is_string()) {
        return refuse(path, std::format("{}: expected {}.", path, allowed));
    }
    const auto& name = role->get_ref<const std::string&>();
    if (name == "developer") return "system";
    for (const std::string_view known : {"system", "user", "assistant", "tool"}) {
        if (name == known) return name;
    }
    return refuse(path, std::format("{}: '{}' is no role; it may be {}.", path, name, allowed));
}

ApiResult<engine::Message> read_message(const Json& entry, const std::string& path) {
    if (!entry.is_object()) {
        return refuse(path, std::format("{}: expected an object with role and content, not {}.",
                                        path, kind_of(entry)));
    }
    FieldReader reader(entry, path);
    engine::Message message;
    EXO_TRY_ASSIGN(message.role, read_role(reader));
    reader.unsupported("tool_calls", "tools are not supported yet.");
    reader.unsupported("function_call", "functions are not supported; they are deprecated.");
    reader.unsupported("audio", "audio is not supported.");
    reader.string("name", message.name);
    EXO_TRY(reader.result());
    EXO_TRY_ASSIGN(message.content, read_content(entry, path));
    return message;
}

ApiResult<std::vector<engine::Message>> read_messages(const FieldReader& reader) {
    const Json* list = reader.find("messages");
    if (list == nullptr) {
        return refuse("messages", "messages: missing; expected a list of messages.");
    }
    if (!list->is_array() || list->empty() || list->size() > message_count_max) {
        return refuse("messages", std::format("messages: expected a list of 1 to {} messages.",
                                              message_count_max));
    }
    std::vector<engine::Message> messages;
    messages.reserve(list->size());
    for (std::size_t i = 0; i < list->size(); ++i) {
        EXO_TRY_ASSIGN(auto message, read_message((*list)[i], std::format("messages[{}]", i)));
        messages.push_back(std::move(message));
    }
    return messages;
}

void refuse_missing_chat_features(FieldReader& reader) {
    reader.unsupported("tools", "tools are not supported yet; leave it out.");
    reader.unsupported("tool_choice", "tools are not supported yet; only 'none' is accepted.",
                       {"none", "auto"});
    reader.unsupported("functions", "functions are not supported; they are deprecated.");
    reader.unsupported("function_call", "functions are not supported; they are deprecated.",
                       {"none", "auto"});
    reader.unsupported("response_format",
                       R"(only {"type": "text"} is supported; JSON modes are not there yet.)",
                       {Json{{"type", "text"}}});
    reader.unsupported("modalities", "only [\"text\"] is supported.", {Json::array({"text"})});
    reader.unsupported("audio", "audio is not supported.");
    reader.unsupported("web_search_options", "this server does not search the web.");
    reader.unsupported("grammar", "grammars are not supported yet.");
}

void read_logprobs(FieldReader& reader, engine::GenerateRequest& request) {
    reader.boolean("logprobs", request.want_logprobs);
    std::int64_t top_count = 0;
    reader.integer("top_logprobs", 0, engine::top_logprob_count_max, top_count);
    if (top_count > 0 && !request.want_logprobs) {
        reader.keep(
            refuse("top_logprobs", "top_logprobs: only allowed together with \"logprobs\": true.")
                .error());
    }
    request.top_logprob_count = static_cast<int>(top_count);
}

}  // namespace

ApiResult<ChatRequest> read_chat_request(const Json& body, const ModelInformation& model) {
    FieldReader reader(body, "");
    ChatRequest request;
    read_generation_fields(reader, model, request.generation);
    refuse_missing_chat_features(reader);
    read_logprobs(reader, request.generation.request);
    if (const Json* variables = reader.find("chat_template_kwargs")) {
        if (variables->is_object()) {
            request.template_variables = *variables;
        } else {
            reader.keep(refuse("chat_template_kwargs", "chat_template_kwargs: expected an object.")
                            .error());
        }
    }
    EXO_TRY(reader.result());
    EXO_TRY_ASSIGN(request.messages, read_messages(reader));
    return request;
}

}  // namespace exomesh::api
