// Any text as a template over a small conversation: it must end with a text or an error, soon.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/chat_template.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_parser.h"

namespace {

const exomesh::model::Json& variables() {
    static const auto json = exomesh::model::Json::parse(R"({
        "messages": [{"role": "system", "content": "Be brief."},
                     {"role": "user", "content": [{"type": "text", "text": "Gr\u00fc\u00dfe"}]},
                     {"role": "assistant", "content": null, "tool_calls": [
                         {"function": {"name": "f", "arguments": {"x": [1, 2.5, true]}}}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "a": 3, "s": " text ", "xs": [3, 1, 2], "d": {"k": 1}, "add_generation_prompt": true})");
    return json;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    const auto parsed = exomesh::model::jinja::parse(source);
    if (!parsed) return 0;
    // Lower limits than the real ones, so that a run is short; the depth is the real one.
    exomesh::model::jinja::Limits limits;
    limits.step_count_max = 200'000;
    limits.output_bytes_max = 1 << 20;
    (void)exomesh::model::jinja::Interpreter(*parsed, limits, 1'721'997'296).render(variables());
    return 0;
}
