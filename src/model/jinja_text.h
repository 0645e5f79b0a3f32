// Text as Python sees it: UTF-8 bytes addressed by code point. Bytes that are not UTF-8 count as
// one code point each, so that every function here is total.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace exomesh::model::jinja {

struct CodePoint {
    std::uint32_t value = 0;
    std::size_t size_bytes = 1;
};

// The offset must be within the text.
[[nodiscard]] CodePoint code_point_at(std::string_view text, std::size_t offset_bytes);
void append_code_point(std::uint32_t code_point, std::string& output);
[[nodiscard]] std::size_t code_point_count(std::string_view text);
// Where the code point of this index begins; the size of the text where it has no such one.
[[nodiscard]] std::size_t code_point_offset(std::string_view text, std::size_t index);
// Views of the single code points, in order: 16 bytes for each byte of the text.
[[nodiscard]] std::vector<std::string_view> code_points(std::string_view text);
[[nodiscard]] bool is_space(std::uint32_t code_point);      // what str.strip() removes
[[nodiscard]] bool is_printable(std::uint32_t code_point);  // what repr() shows as it is

// str.strip() and its one-sided forms; with `characters`, those instead of white space.
enum class Side { left, right, both };
[[nodiscard]] std::string_view strip(std::string_view text, Side side);
[[nodiscard]] std::string_view strip(std::string_view text, Side side, std::string_view characters);

// Case mapping of ASCII, Latin-1, Greek and Cyrillic letters that map to one letter; others stay.
[[nodiscard]] std::uint32_t upper(std::uint32_t code_point);
[[nodiscard]] std::uint32_t lower(std::uint32_t code_point);
[[nodiscard]] bool is_letter(std::uint32_t code_point);
// str.isupper() and str.islower(): every letter with two cases has the one that `wanted` maps to,
// and there is such a letter.
[[nodiscard]] bool is_cased(std::string_view text, std::uint32_t (*wanted)(std::uint32_t));
[[nodiscard]] std::string upper(std::string_view text);
[[nodiscard]] std::string lower(std::string_view text);
[[nodiscard]] std::string capitalize(std::string_view text);
[[nodiscard]] std::string title(std::string_view text);  // str.title()
[[nodiscard]] std::string title_filter(
    std::string_view text);  // Jinja's filter: splits at fewer places

[[nodiscard]] std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
[[nodiscard]] std::vector<std::string_view> split_spaces(std::string_view text,
                                                         std::int64_t count_max, Side from);
[[nodiscard]] std::vector<std::string_view> split_at(std::string_view text,
                                                     std::string_view separator,
                                                     std::int64_t count_max, Side from);
// str.replace(); a negative count means all.
[[nodiscard]] std::string replace(std::string_view text, std::string_view old_text,
                                  std::string_view new_text, std::int64_t count_max);

[[nodiscard]] std::string escape_html(std::string_view text);
void append_quoted(std::string_view text, std::string& output);  // repr() of a string
enum class Escape { ascii, only_needed };
void append_json_string(std::string_view text, Escape escape, std::string& output);

}  // namespace exomesh::model::jinja
