#include "model/printable.h"

#include <cstddef>

#include "model/utf8.h"

namespace exomesh::model {

namespace {

bool is_control(std::string_view character) {
    const auto first = static_cast<unsigned char>(character[0]);
    if (character.size() == 1) return first < 0x20 || first == 0x7f;
    return first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
}

}  // namespace

std::string printable(std::string_view text, std::string_view kept) {
    std::string shown;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = utf8_sequence_length(text, i);
        const std::string_view character = text.substr(i, length == 0 ? 1 : length);
        const bool stays = length > 0 && (!is_control(character) || kept.contains(character));
        shown += stays ? character : "?";
        i += character.size();
    }
    return shown;
}

}  // namespace exomesh::model
