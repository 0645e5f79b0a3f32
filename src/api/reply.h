// An HTTP answer as a plain value, and the answers that need no generation.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "api/backend.h"
#include "api/errors.h"

namespace exomesh::api {

struct Reply {
    unsigned status = 200;
    std::string content_type = "application/json";
    std::string body = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
};

// 429 and 503 say when to come back.
[[nodiscard]] Reply error_reply(const ApiError& error);
[[nodiscard]] Reply json_reply(const Json& json);

[[nodiscard]] Reply home_reply(const Backend& backend);
// 503 with the reason after the device has failed.
[[nodiscard]] Reply health_reply(const Backend& backend);
[[nodiscard]] Reply models_reply(const Backend& backend);
[[nodiscard]] Reply model_reply(const Backend& backend, const std::string& id);

}  // namespace exomesh::api
