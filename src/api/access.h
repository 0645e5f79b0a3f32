// Who may talk to the server.
//
// With an API key, every request except GET /health must carry it. Without one (loopback only), two
// attacks by web pages in a browser on the same machine remain, and are refused:
// - DNS rebinding: a page's own name is made to resolve to 127.0.0.1. Its requests carry that name
// in
//   Host, so Host must be a loopback name or address.
// - Cross-site requests: they carry a foreign Origin, so Origin must be the server's own, or
// listed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/errors.h"

namespace exomesh::api {

struct AccessPolicy {
    std::string api_key;                       // empty: none asked for
    std::vector<std::string> allowed_origins;  // "https://chat.example"; "*": every origin
};

struct RequestHead {
    std::string_view host;
    std::optional<std::string_view> origin;
    std::optional<std::string_view> authorization;
};

// 401 or 403.
[[nodiscard]] ApiResult<> check_key(const AccessPolicy& policy, const RequestHead& head);
[[nodiscard]] ApiResult<> check_origin(const AccessPolicy& policy, const RequestHead& head);

// Whether the policy lists this origin (the server's own origin needs no list).
[[nodiscard]] bool is_listed_origin(const AccessPolicy& policy, std::string_view origin);

// "localhost", "x.localhost", "127.1.2.3", "[::1]", each with or without a port.
[[nodiscard]] bool is_loopback_host(std::string_view host);

// Takes the same time whatever the difference; that time depends on the length of `given` alone.
[[nodiscard]] bool equal_in_constant_time(std::string_view given, std::string_view expected);

}  // namespace exomesh::api
