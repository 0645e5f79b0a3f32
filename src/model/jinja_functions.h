// The functions of the language: range, namespace, dict, cycler, joiner, and Hugging Face's
// raise_exception and strftime_now.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/jinja_value.h"

namespace exomesh::model::jinja {

[[nodiscard]] std::optional<Function> find_function(std::string_view name);

// strftime() in UTC and English. Unknown directives stay as written.
[[nodiscard]] std::string format_time(std::string_view format, std::int64_t time_s);

}  // namespace exomesh::model::jinja
