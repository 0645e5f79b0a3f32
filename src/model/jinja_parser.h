// Parses a template into its syntax tree. Unknown statements are refused here; unknown filters and
// tests when they are reached, since templates guard with `if` what not every renderer has.
#pragma once

#include <string_view>

#include "base/result.h"
#include "model/jinja_ast.h"

namespace exomesh::model::jinja {

[[nodiscard]] Result<Template> parse(std::string_view source);

}  // namespace exomesh::model::jinja
