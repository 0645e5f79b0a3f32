#include "api/router.h"

#include <array>
#include <charconv>
#include <format>
#include <optional>

namespace exomesh::api {

namespace {

struct Entry {
    std::string_view path;
    Endpoint endpoint;
    bool takes_body;
};

constexpr std::string_view model_prefix = "/v1/models/";
constexpr std::array<Entry, 6> entries = {{
    {"/", Endpoint::home, false},
    {"/health", Endpoint::health, false},
    {"/metrics", Endpoint::metrics, false},
    {"/v1/models", Endpoint::models, false},
    {"/v1/chat/completions", Endpoint::chat_completions, true},
    {"/v1/completions", Endpoint::completions, true},
}};

// "a%2Fb" → "a/b"; nothing where an escape is broken.
std::optional<std::string> percent_decode(std::string_view text) {
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            decoded += text[i];
            continue;
        }
        const std::string_view digits = text.substr(i + 1, 2);
        unsigned char byte = 0;
        const auto [end, code] =
            std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
        if (digits.size() != 2 || code != std::errc() || end != digits.data() + 2) return {};
        decoded += static_cast<char>(byte);
        i += 2;
    }
    return decoded;
}

struct Found {
    Route route;
    bool takes_body = false;
};

std::optional<Found> find(std::string_view target) {
    std::string_view path = target.substr(0, target.find_first_of("?#"));
    if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    for (const Entry& entry : entries) {
        if (path == entry.path) return Found{{entry.endpoint, {}}, entry.takes_body};
    }
    if (path.starts_with(model_prefix)) {
        if (auto id = percent_decode(path.substr(model_prefix.size()))) {
            return Found{{Endpoint::model, *std::move(id)}, false};
        }
    }
    return {};
}

std::string_view methods_of(const Found& found) {
    return found.takes_body ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

std::string known_paths() {
    std::string text;
    for (const Entry& entry : entries) {
        if (!text.empty()) text += ", ";
        text += std::format("{} {}", entry.takes_body ? "POST" : "GET", entry.path);
    }
    return text;
}

}  // namespace

std::string allowed_methods(std::string_view target) {
    const auto found = find(target);
    return found ? std::string(methods_of(*found)) : "";
}

std::expected<Route, RouteRefusal> route(Method method, std::string_view target) {
    auto found = find(target);
    if (!found) {
        return std::unexpected(RouteRefusal{
            {404,
             std::format("there is nothing at '{}'. What there is: {}.", target, known_paths()), "",
             "not_found"},
            ""});
    }
    const bool reads = method == Method::get || method == Method::head;
    const bool allowed = found->takes_body ? method == Method::post : reads;
    if (!allowed) {
        const std::string methods(methods_of(*found));
        return std::unexpected(RouteRefusal{
            {405, std::format("'{}' takes {} only.", target, methods), "", "method_not_allowed"},
            methods});
    }
    return std::move(found->route);
}

}  // namespace exomesh::api
