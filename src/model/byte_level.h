// The byte-level alphabet of GPT-2's vocabulary files: every byte is written as one printable
// character (space as "Ġ", newline as "Ċ"), so that a vocabulary of byte strings is a list of
// readable words. Specified by the `bytes_to_unicode` table of GPT-2's encoder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exomesh::model {

// Appends the bytes that `written` stands for; false, with `bytes` in any state, where `written`
// holds a character that is none of the alphabet's 256.
[[nodiscard]] bool append_byte_level(std::string_view written, std::string& bytes);

// How the vocabulary file writes these bytes: what tests and tools need.
[[nodiscard]] std::string to_byte_level(std::string_view bytes);

}  // namespace exomesh::model
