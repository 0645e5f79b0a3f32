// Python's two ways to fill a text: "%s" % value and "{}".format(value).
#pragma once

#include <string>
#include <string_view>

#include "model/jinja_value.h"

namespace exomesh::model::jinja {

// `values` is a tuple, a dictionary (for %(name)s) or a single value.
[[nodiscard]] Result<Value> format_percent(Interpreter& interpreter, std::string_view format,
                                           const Value& values);
[[nodiscard]] Result<Value> format_braces(Interpreter& interpreter, std::string_view format,
                                          const Arguments& arguments);

}  // namespace exomesh::model::jinja
