// The shape of UTF-8 (RFC 3629), as the tokenizers need it.
#pragma once

#include <cstddef>
#include <string_view>

namespace exomesh::model {

// What a text that may be no UTF-8 begins with.
struct Utf8Step {
    // Of the sequence; of a broken one, its maximal subpart (Unicode 16, section 3.9).
    std::size_t length = 1;
    bool is_whole = false;
    bool is_cut = false;  // broken only because the text ends
};

// At text[position], which must be within the text.
[[nodiscard]] Utf8Step utf8_step(std::string_view text, std::size_t position);

// The length of the valid UTF-8 sequence at text[position], or 0 where there is none (a stray or
// missing continuation byte, an overlong form, a surrogate, a value above U+10FFFF).
[[nodiscard]] std::size_t utf8_sequence_length(std::string_view text, std::size_t position);

// The end of the longest valid UTF-8 text that starts at `position`.
[[nodiscard]] std::size_t utf8_valid_end(std::string_view text, std::size_t position);

}  // namespace exomesh::model
