// The tests of the language: `value is name(arguments)`.
#pragma once

#include <string_view>

#include "model/jinja_ast.h"

namespace exomesh::model::jinja {

// Null where there is no such test.
[[nodiscard]] TestFunction find_test(std::string_view name);

}  // namespace exomesh::model::jinja
