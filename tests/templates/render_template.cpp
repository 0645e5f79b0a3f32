// Renders chat templates for compare.py: one JSON object {"template", "variables"} a line on
// standard input, one JSON object {"text"} or {"error"} a line on standard output.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>

#include "model/chat_template.h"

namespace {

// Fixed, so that strftime_now can be compared: 2024-07-26 12:34:56 UTC.
constexpr std::int64_t now_s = 1'721'997'296;

exomesh::Result<std::string> render(const exomesh::model::Json& request) {
    EXO_TRY_ASSIGN(const auto chat_template,
                   exomesh::model::ChatTemplate::create(request.at("template").get<std::string>()));
    return chat_template.render_variables(request.at("variables"), now_s);
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
        const auto request = exomesh::model::Json::parse(line);
        const exomesh::Result<std::string> text = render(request);
        exomesh::model::Json answer;
        if (text) {
            answer["text"] = *text;
        } else {
            answer["error"] = text.error().text();
        }
        std::cout << answer.dump(-1, ' ', true, exomesh::model::Json::error_handler_t::replace)
                  << std::endl;
    }
}
