#include "model/chat_template.h"

#include <utility>

#include "model/jinja_interpreter.h"
#include "model/jinja_parser.h"

namespace exomesh::model {

namespace {

// A template's own words end as their writer ended them.
Error as_sentence(Error error) {
    const char last = error.message.empty() ? '.' : error.message.back();
    if (last != '.' && last != '!' && last != '?') error.message += '.';
    return error;
}

}  // namespace

struct ChatTemplate::Program {
    jinja::Template tree;
};

ChatTemplate::ChatTemplate(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::create(std::string_view source) {
    if (source.size() > template_source_bytes_max) {
        return fail(ErrorCode::resource_exhausted, "the chat template has more than " +
                                                       std::to_string(template_source_bytes_max) +
                                                       " bytes.");
    }
    auto tree = jinja::parse(source);
    if (!tree) return std::unexpected(as_sentence(std::move(tree).error()));
    return ChatTemplate(std::make_shared<const Program>(*std::move(tree)));
}

Result<std::string> ChatTemplate::render(const ChatTemplateInput& input) const {
    Json variables = input.extra.is_object() ? input.extra : Json::object();
    variables["messages"] = input.messages;
    variables["tools"] = input.tools;
    variables["add_generation_prompt"] = input.add_generation_prompt;
    variables["bos_token"] = input.beginning_of_sequence_text;
    variables["eos_token"] = input.end_of_sequence_text;
    return render_variables(variables, input.now_s);
}

Result<std::string> ChatTemplate::render_variables(const Json& variables,
                                                   std::int64_t now_s) const {
    if (!variables.is_object()) {
        return fail(ErrorCode::invalid_argument, "a template's variables must be a JSON object.");
    }
    auto text = jinja::Interpreter(program_->tree, jinja::Limits{}, now_s).render(variables);
    if (!text) return std::unexpected(as_sentence(std::move(text).error()));
    return text;
}

}  // namespace exomesh::model
