// Methods and attributes of values: "text".strip(), mapping.items(), loop.first.
#pragma once

#include <optional>
#include <string_view>

#include "model/jinja_value.h"

namespace exomesh::model::jinja {

using MethodFunction = Result<Value> (*)(Interpreter&, const Value& self, const Arguments&);

// Null where values of this type have no such method.
[[nodiscard]] MethodFunction find_method(const Value& self, std::string_view name);

// What the value itself has under this name (a method, something of a loop or namespace), as
// opposed to a dictionary's entry.
[[nodiscard]] Result<std::optional<Value>> own_attribute(Interpreter& interpreter,
                                                         const Value& base, std::string_view name);

// Methods of strings; the rest of find_method is about the other types.
[[nodiscard]] MethodFunction find_string_method(std::string_view name);

}  // namespace exomesh::model::jinja
