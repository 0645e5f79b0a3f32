#include "api/access.h"

#include <algorithm>
#include <format>

namespace exomesh::api {

namespace {

std::string lower_case(std::string_view text) {
    std::string lower(text);
    for (char& character : lower) {
        if (character >= 'A' && character <= 'Z')
            character = static_cast<char>(character - 'A' + 'a');
    }
    return lower;
}

std::string_view without_port(std::string_view host) {
    if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
    return host.substr(0, host.find(':'));
}

bool is_loopback_address(std::string_view text) {
    if (!text.starts_with("127.")) return false;
    const bool digits = std::ranges::all_of(text, [](char character) {
        return (character >= '0' && character <= '9') || character == '.';
    });
    return digits && std::ranges::count(text, '.') == 3;
}

}  // namespace

bool is_loopback_host(std::string_view host) {
    std::string name = lower_case(without_port(host));
    if (name.ends_with('.')) name.pop_back();
    return name == "localhost" || name.ends_with(".localhost") || name == "[::1]" ||
           is_loopback_address(name);
}

bool equal_in_constant_time(std::string_view given, std::string_view expected) {
    // volatile: the compiler may not leave the loop early.
    volatile unsigned char difference = given.size() == expected.size() ? 0 : 1;
    for (std::size_t i = 0; i < given.size(); ++i) {
        const char other = expected.empty() ? '\0' : expected[i % expected.size()];
        difference = static_cast<unsigned char>(difference | (static_cast<unsigned char>(given[i]) ^
                                                              static_cast<unsigned char>(other)));
    }
    return difference == 0;
}

bool is_listed_origin(const AccessPolicy& policy, std::string_view origin) {
    return std::ranges::any_of(policy.allowed_origins, [&](const std::string& listed) {
        return listed == "*" || lower_case(listed) == lower_case(origin);
    });
}

ApiResult<> check_key(const AccessPolicy& policy, const RequestHead& head) {
    if (policy.api_key.empty()) return {};
    constexpr std::string_view scheme = "bearer ";
    const std::string_view given = head.authorization.value_or("");
    if (lower_case(given.substr(0, scheme.size())) != scheme) {
        return std::unexpected(
            ApiError{401, "an API key is needed: send the header 'Authorization: Bearer KEY'.", "",
                     "missing_api_key"});
    }
    if (!equal_in_constant_time(given.substr(scheme.size()), policy.api_key)) {
        return std::unexpected(ApiError{401, "this API key is wrong.", "", "invalid_api_key"});
    }
    return {};
}

ApiResult<> check_origin(const AccessPolicy& policy, const RequestHead& head) {
    if (policy.api_key.empty() && !is_loopback_host(head.host)) {
        return std::unexpected(ApiError{
            403,
            std::format(
                "the Host header says '{}', but without an API key this server answers only "
                "to localhost, 127.0.0.1 and [::1].",
                head.host),
            "", "forbidden_host"});
    }
    if (!head.origin) return {};
    const std::string origin = lower_case(*head.origin);
    const std::string host = lower_case(head.host);
    if (origin == "http://" + host || origin == "https://" + host) return {};
    if (is_listed_origin(policy, origin)) return {};
    return std::unexpected(ApiError{
        403,
        std::format("web pages of '{}' may not use this server; allow that origin first.", origin),
        "", "forbidden_origin"});
}

}  // namespace exomesh::api
