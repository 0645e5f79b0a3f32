#include "api/reply.h"

#include <format>

#include "api/limits.h"

namespace exomesh::api {

namespace {

Json model_json(const ModelInformation& model) {
    return {{"id", model.id},
            {"object", "model"},
            {"created", model.created_s},
            {"owned_by", "exomesh"},
            {"context_length", model.context_length}};
}

}  // namespace

Reply error_reply(const ApiError& error) {
    Reply reply{.status = error.status, .body = dump(to_json(error)) + "\n"};
    if (error.status == 429 || error.status == 503) {
        reply.headers.emplace_back("Retry-After", std::to_string(retry_after_s));
    }
    if (error.status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
    return reply;
}

Reply json_reply(const Json& json) {
    return {.body = dump(json) + "\n"};
}

Reply home_reply(const Backend& backend) {
    return {.content_type = "text/plain; charset=utf-8",
            .body = std::format("exomesh serves '{}' here, in the manner of OpenAI's API:\n\n"
                                "  POST /v1/chat/completions\n"
                                "  POST /v1/completions\n"
                                "  GET  /v1/models\n"
                                "  GET  /health\n"
                                "  GET  /metrics\n\n"
                                "Point a client's base URL at /v1 of this address.\n",
                                backend.model().id)};
}

Reply health_reply(const Backend& backend) {
    const engine::EngineStatistics statistics = backend.statistics();
    const bool works = statistics.device_failure.empty();
    Json json = {{"status", works ? "ok" : "failed"},
                 {"model", backend.model().id},
                 {"slots_busy", statistics.slots_busy},
                 {"slots_total", backend.information().slot_count},
                 {"requests_waiting", statistics.requests_waiting}};
    if (!works) json["reason"] = statistics.device_failure;
    Reply reply = json_reply(json);
    reply.status = works ? 200 : 503;
    return reply;
}

Reply models_reply(const Backend& backend) {
    return json_reply({{"object", "list"}, {"data", Json::array({model_json(backend.model())})}});
}

Reply model_reply(const Backend& backend, const std::string& id) {
    const ModelInformation& model = backend.model();
    if (id == model.id) return json_reply(model_json(model));
    return error_reply({404, std::format("model '{}' is not served here; '{}' is.", id, model.id),
                        "model", "model_not_found"});
}

}  // namespace exomesh::api
