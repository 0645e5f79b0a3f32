// "Did you mean ...?": the nearest of some known words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace exomesh::main {

// Insertions, deletions, replacements and swaps of neighbours that turn one into the other.
[[nodiscard]] std::size_t edit_distance(std::string_view left, std::string_view right);

// " Did you mean 'x'?" or nothing where no word is near enough to be meant.
[[nodiscard]] std::string suggestion(std::string_view word, const std::vector<std::string>& known);

}  // namespace exomesh::main
