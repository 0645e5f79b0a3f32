// Text from files and peers that goes to terminals, logs and clients.
#pragma once

#include <string>
#include <string_view>

namespace exomesh::model {

// Valid UTF-8 without control characters (C0, DEL, and C1, with which escape sequences begin too):
// '?' stands for each of these and for each byte that is no UTF-8. Those in `kept` stay.
[[nodiscard]] std::string printable(std::string_view text, std::string_view kept = "");

}  // namespace exomesh::model
