#include "model/quoted_name.h"

namespace exomesh::model {

std::string quoted_name(std::string_view name) {
    constexpr std::size_t shown_bytes_max = 80;
    std::string text = "'";
    for (const char character : name.substr(0, shown_bytes_max)) {
        const bool printable = character >= ' ' && character <= '~';
        text += printable ? character : '?';
    }
    if (name.size() > shown_bytes_max) text += "...";
    return text + "'";
}

}  // namespace exomesh::model
