// The filters of the language: `value | name(arguments)`.
#pragma once

#include <string_view>

#include "model/jinja_ast.h"

namespace exomesh::model::jinja {

// Null where there is no such filter.
[[nodiscard]] FilterFunction find_filter(std::string_view name);

}  // namespace exomesh::model::jinja
