// The shape of UTF-8 (RFC 3629), as the tokenizers need it.
#pragma once

#include <cstddef>
#include <string_view>

namespace exomesh::model {

// The length of the valid UTF-8 sequence at text[position], or 0 where there is none (a stray or
// missing continuation byte, an overlong form, a surrogate, a value above U+10FFFF).
[[nodiscard]] std::size_t utf8_sequence_length(std::string_view text, std::size_t position);

// The end of the longest valid UTF-8 text that starts at `position`.
[[nodiscard]] std::size_t utf8_valid_end(std::string_view text, std::size_t position);

}  // namespace exomesh::model
