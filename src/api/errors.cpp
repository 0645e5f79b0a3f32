#include "api/errors.h"

#include <string_view>
#include <utility>

namespace exomesh::api {

namespace {

std::string_view type_of(unsigned status) {
    switch (status) {
        case 401:
            return "authentication_error";
        case 403:
            return "permission_error";
        case 429:
            return "rate_limit_error";
        default:
            return status < 500 ? "invalid_request_error" : "server_error";
    }
}

unsigned status_of(ErrorCode code, unsigned exhausted_status) {
    switch (code) {
        case ErrorCode::invalid_argument:
        case ErrorCode::unsupported:
            return 400;
        case ErrorCode::not_found:
            return 404;
        case ErrorCode::resource_exhausted:
            return exhausted_status;
        case ErrorCode::unavailable:
        case ErrorCode::cancelled:
            return 503;
        case ErrorCode::corrupt_data:
        case ErrorCode::io:
        case ErrorCode::internal:
            return 500;
    }
    return 500;
}

}  // namespace

std::unexpected<ApiError> refuse(std::string parameter, std::string message, std::string code) {
    return std::unexpected(
        ApiError{400, std::move(message), std::move(parameter), std::move(code)});
}

std::unexpected<ApiError> refuse_unsupported(std::string parameter, std::string message) {
    return refuse(std::move(parameter), std::move(message), "unsupported_parameter");
}

ApiError from_error(const Error& error, unsigned exhausted_status) {
    return {status_of(error.code, exhausted_status), error.text()};
}

Json to_json(const ApiError& error) {
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    return {{"error",
             {{"message", error.message},
              {"type", type_of(error.status)},
              {"param", or_null(error.parameter)},
              {"code", or_null(error.code)}}}};
}

std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace exomesh::api
