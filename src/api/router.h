// Which endpoint a method and a target mean.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "api/errors.h"

namespace exomesh::api {

enum class Endpoint { home, health, metrics, models, model, chat_completions, completions };

enum class Method { get, head, post, options, other };

struct Route {
    Endpoint endpoint = Endpoint::home;
    std::string argument;  // the id of Endpoint::model, percent-decoded
};

struct RouteRefusal {
    ApiError error;
    std::string allow;  // for the Allow header of a 405
};

// `target` as in the request line: a path and maybe a query, which no endpoint uses. HEAD is
// welcome where GET is. OPTIONS is answered before routing (connection.cpp).
[[nodiscard]] std::expected<Route, RouteRefusal> route(Method method, std::string_view target);

// The methods of a target, as an Allow header says them; empty where nothing is there.
[[nodiscard]] std::string allowed_methods(std::string_view target);

}  // namespace exomesh::api
