#include "model/utf8.h"

#include <cstdint>
#include <cstring>

namespace exomesh::model {

namespace {

std::uint8_t byte_at(std::string_view text, std::size_t position) {
    return static_cast<std::uint8_t>(text[position]);
}

bool is_between(std::uint8_t value, std::uint8_t low, std::uint8_t high) {
    return value >= low && value <= high;
}

}  // namespace

Utf8Step utf8_step(std::string_view text, std::size_t position) {
    const std::uint8_t lead = byte_at(text, position);
    if (lead < 0x80) return {.length = 1, .is_whole = true};
    std::size_t length = 0;
    // The second byte's range excludes overlong forms, surrogates and values above U+10FFFF.
    std::uint8_t low = 0x80;
    std::uint8_t high = 0xBF;
    if (is_between(lead, 0xC2, 0xDF)) {
        length = 2;
    } else if (is_between(lead, 0xE0, 0xEF)) {
        length = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (is_between(lead, 0xF0, 0xF4)) {
        length = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    } else {
        return {};
    }
    for (std::size_t i = 1; i < length; ++i) {
        if (position + i == text.size()) return {.length = i, .is_cut = true};
        if (!is_between(byte_at(text, position + i), low, high)) return {.length = i};
        low = 0x80;
        high = 0xBF;
    }
    return {.length = length, .is_whole = true};
}

std::size_t utf8_sequence_length(std::string_view text, std::size_t position) {
    const Utf8Step step = utf8_step(text, position);
    return step.is_whole ? step.length : 0;
}

std::size_t utf8_valid_end(std::string_view text, std::size_t position) {
    constexpr std::uint64_t high_bits = 0x8080808080808080U;
    while (position < text.size()) {
        if (text.size() - position >= 8) {  // eight ASCII bytes at a time
            std::uint64_t word = 0;
            std::memcpy(&word, text.data() + position, 8);
            if ((word & high_bits) == 0) {
                position += 8;
                continue;
            }
        }
        const std::size_t length = utf8_sequence_length(text, position);
        if (length == 0) break;
        position += length;
    }
    return position;
}

}  // namespace exomesh::model
