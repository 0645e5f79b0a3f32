// Hostile bytes through everything a request passes before the engine: the HTTP parser with the
// server's limits, routing, access, and the JSON bodies of both endpoints. The first byte chooses:
// an even one takes the rest as a whole HTTP request, an odd one as a body.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/asio/buffer.hpp>

#include "api/access.h"
#include "api/answer.h"
#include "api/connection.h"
#include "api/router.h"
#include "api/testing/scripted_backend.h"
#include "base/assert.h"

namespace exomesh::api {
namespace {

const ScriptedBackend& backend() {
    static const ScriptedBackend instance;
    return instance;
}

// What is accepted can be answered, and what is refused can be said: both as JSON text.
void check(const ApiResult<Answer>& answer) {
    if (!answer) {
        EXO_ASSERT(answer.error().status >= 400 && !answer.error().message.empty());
        EXO_ASSERT(Json::accept(dump(to_json(answer.error()))));
        return;
    }
    EXO_ASSERT(!answer->requests.empty() && !answer->requests.front().prompt.empty());
    std::vector<Choice> choices(answer->requests.size());
    EXO_ASSERT(Json::accept(dump(answer->format->whole(choices))));
    EXO_ASSERT(Json::accept(dump(answer->format->opening(0))));
}

void run_body(std::string_view body) {
    check(prepare_chat_completion(body, backend(), {}));
    check(prepare_completion(body, backend(), {}));
}

void run_request(std::string_view bytes) {
    namespace http = boost::beast::http;
    RequestParser parser;
    set_limits(parser, {.body_bytes_max = 4096, .body_bytes_total_max = 4096});
    parser.eager(true);
    boost::beast::error_code error;
    while (!bytes.empty() && !parser.is_done() && !error) {
        const std::size_t count = parser.put(boost::asio::buffer(bytes), error);
        if (count == 0) break;
        bytes.remove_prefix(count);
    }
    if (error || !parser.is_header_done()) return;
    const auto& request = parser.get();
    EXO_ASSERT(request.body().size() <= 4096);
    const RequestHead head{.host = request[http::field::host],
                           .origin = request[http::field::origin],
                           .authorization = request[http::field::authorization]};
    (void)check_origin({}, head);
    (void)check_key({.api_key = "secret", .allowed_origins = {}}, head);
    const auto found = route(Method::post, request.target());
    if (found) run_body(request.body());
}

}  // namespace
}  // namespace exomesh::api

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    if (data[0] % 2 == 0) {
        exomesh::api::run_request(bytes.substr(1));
    } else {
        exomesh::api::run_body(bytes.substr(1));
    }
    return 0;
}
