// Errors as OpenAI's clients expect them: a status and {"error": {message, type, param, code}}.
#pragma once

#include <expected>
#include <string>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace exomesh::api {

using Json = nlohmann::ordered_json;

struct ApiError {
    unsigned status = 500;
    std::string message;
    std::string parameter = {};  // "messages[2].content"; empty: null
    std::string code = {};       // "model_not_found"; empty: null
};

template <typename T = void>
using ApiResult = std::expected<T, ApiError>;

// 400 for one parameter.
[[nodiscard]] std::unexpected<ApiError> refuse(std::string parameter, std::string message,
                                               std::string code = {});

// The same for a feature this server does not have; its code is "unsupported_parameter".
[[nodiscard]] std::unexpected<ApiError> refuse_unsupported(std::string parameter,
                                                           std::string message);

// resource_exhausted does not say whose: `exhausted_status` is 503 where it is the device's memory,
// 429 for the queue, 400 for a limit that the request itself runs into.
[[nodiscard]] ApiError from_error(const Error& error, unsigned exhausted_status = 503);

// {"error": {...}}
[[nodiscard]] Json to_json(const ApiError& error);

// JSON text in which bytes that are no UTF-8 become U+FFFD, so that it never fails.
[[nodiscard]] std::string dump(const Json& json);

}  // namespace exomesh::api
