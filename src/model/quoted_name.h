// Names from a file, as people see them in messages.
#pragma once

#include <string>
#include <string_view>

namespace exomesh::model {

// In single quotes, cut to 80 bytes, and with '?' for what is not printable ASCII.
[[nodiscard]] std::string quoted_name(std::string_view name);

}  // namespace exomesh::model
