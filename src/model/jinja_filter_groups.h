// The filters by what they are about; jinja_filters.h is the door to all of them.
#pragma once

#include <string_view>

#include "model/jinja_ast.h"

namespace exomesh::model::jinja {

[[nodiscard]] FilterFunction find_text_filter(std::string_view name);
[[nodiscard]] FilterFunction find_list_filter(std::string_view name);
[[nodiscard]] FilterFunction find_number_filter(std::string_view name);

}  // namespace exomesh::model::jinja
