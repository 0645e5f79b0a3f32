// Parses a template into its syntax tree. Unknown filters, tests and statements are refused here,
// so that a model with a template we cannot run fails when it is opened, not in the middle of a
// chat.
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/jinja_ast.h"

namespace exomesh::model::jinja {

[[nodiscard]] Result<Template> parse(std::string_view source);

}  // namespace exomesh::model::jinja
