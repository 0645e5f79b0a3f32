#include "model/jinja_text.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "model/utf8.h"

namespace exomesh::model::jinja {

namespace {

constexpr std::size_t npos = std::string_view::npos;

bool is_line_break(std::uint32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

template <typename Map>
std::string map_code_points(std::string_view text, Map map) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        const std::uint32_t mapped = map(point.value);
        if (mapped == point.value) {
            result += text.substr(at, point.size_bytes);
        } else {
            append_code_point(mapped, result);
        }
        at += point.size_bytes;
    }
    return result;
}

// Of a text that is not empty.
std::string_view last_code_point(std::string_view text) {
    for (std::size_t size = std::min<std::size_t>(4, text.size()); size > 1; --size) {
        const std::size_t at = text.size() - size;
        if (code_point_at(text, at).size_bytes == size) return text.substr(at);
    }
    return text.substr(text.size() - 1);
}

void append_hex(const char* format, std::uint32_t code_point, std::string& output) {
    std::array<char, 16> buffer{};
    std::snprintf(buffer.data(), buffer.size(), format, code_point);
    output += buffer.data();
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t offset_bytes) {
    const auto byte = [&](std::size_t i) -> std::uint32_t {
        return static_cast<unsigned char>(text[offset_bytes + i]);
    };
    const std::size_t length = utf8_sequence_length(text, offset_bytes);
    if (length < 2) return {byte(0), 1};
    std::uint32_t value = byte(0) & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) value = value << 6 | (byte(i) & 0x3FU);
    return {value, length};
}

void append_code_point(std::uint32_t c, std::string& output) {
    const auto put = [&](std::uint32_t byte) { output += static_cast<char>(byte); };
    if (c < 0x80) {
        put(c);
    } else if (c < 0x800) {
        put(0xC0U | (c >> 6));
        put(0x80U | (c & 0x3FU));
    } else if (c < 0x10000) {
        put(0xE0U | (c >> 12));
        put(0x80U | ((c >> 6) & 0x3FU));
        put(0x80U | (c & 0x3FU));
    } else {
        put(0xF0U | (c >> 18));
        put(0x80U | ((c >> 12) & 0x3FU));
        put(0x80U | ((c >> 6) & 0x3FU));
        put(0x80U | (c & 0x3FU));
    }
}

std::size_t code_point_count(std::string_view text) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) at += code_point_at(text, at).size_bytes;
    return count;
}

std::size_t code_point_offset(std::string_view text, std::size_t index) {
    std::size_t at = 0;
    for (; index > 0 && at < text.size(); --index) at += code_point_at(text, at).size_bytes;
    return at;
}

std::vector<std::string_view> code_points(std::string_view text) {
    std::vector<std::string_view> result;
    result.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = code_point_at(text, at).size_bytes;
        result.push_back(text.substr(at, size));
        at += size;
    }
    return result;
}

bool is_space(std::uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_printable(std::uint32_t c) {
    if (c == ' ') return true;
    if (c < 0x21 || (c >= 0x7F && c <= 0xA0) || c == 0xAD || is_space(c)) return false;
    const bool is_format = (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
                           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
                           (c >= 0xFFF0 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE00FF);
    const bool is_private = (c >= 0xD800 && c <= 0xF8FF) || c >= 0xF0000;
    return !is_format && !is_private;
}

std::string_view strip(std::string_view text, Side side) {
    if (side != Side::right) {
        while (!text.empty()) {
            const CodePoint point = code_point_at(text, 0);
            if (!is_space(point.value)) break;
            text.remove_prefix(point.size_bytes);
        }
    }
    while (side != Side::left && !text.empty()) {
        std::size_t size = 1;
        // A code point of white space has at most three bytes.
        while (size < 3 && size < text.size() &&
               (static_cast<unsigned char>(text[text.size() - size]) & 0xC0U) == 0x80U) {
            ++size;
        }
        const CodePoint point = code_point_at(text, text.size() - size);
        if (point.size_bytes != size || !is_space(point.value)) break;
        text.remove_suffix(size);
    }
    return text;
}

std::string_view strip(std::string_view text, Side side, std::string_view characters) {
    std::vector<std::string_view> wanted = code_points(characters);
    std::ranges::sort(wanted);
    const auto removed = [&](std::string_view point) {
        return std::ranges::binary_search(wanted, point);
    };
    while (side != Side::right && !text.empty()) {
        const std::string_view first = text.substr(0, code_point_at(text, 0).size_bytes);
        if (!removed(first)) break;
        text.remove_prefix(first.size());
    }
    while (side != Side::left && !text.empty()) {
        const std::string_view last = last_code_point(text);
        if (!removed(last)) break;
        text.remove_suffix(last.size());
    }
    return text;
}

std::uint32_t upper(std::uint32_t c) {
    if (c >= 'a' && c <= 'z') return c - 32;
    if ((c >= 0xE0 && c <= 0xFE && c != 0xF7) || (c >= 0x3B1 && c <= 0x3CB && c != 0x3C2) ||
        (c >= 0x430 && c <= 0x44F)) {
        return c - 32;
    }
    if (c >= 0x450 && c <= 0x45F) return c - 80;
    return c;
}

std::uint32_t lower(std::uint32_t c) {
    if (c >= 'A' && c <= 'Z') return c + 32;
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3AB && c != 0x3A2) ||
        (c >= 0x410 && c <= 0x42F)) {
        return c + 32;
    }
    if (c >= 0x400 && c <= 0x40F) return c + 80;
    return c;
}

bool is_letter(std::uint32_t c) {
    if (upper(c) != c || lower(c) != c) return true;
    const bool is_symbol = c < 0xC0 ? c != 0xAA && c != 0xB5 && c != 0xBA : c == 0xD7 || c == 0xF7;
    if (is_symbol) return false;
    return is_printable(c) && !(c >= 0x2010 && c <= 0x2BFF) && !(c >= 0x3001 && c <= 0x3004) &&
           !(c >= 0x3008 && c <= 0x3030) && !(c >= 0xFF00 && c <= 0xFF20) && c < 0x1F000;
}

std::string upper(std::string_view text) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        if (point.value == 0xDF) {
            result += "SS";  // the one letter here whose upper case is two
        } else {
            append_code_point(upper(point.value), result);
        }
        at += point.size_bytes;
    }
    return result;
}

std::string lower(std::string_view text) {
    return map_code_points(text, [](std::uint32_t c) { return lower(c); });
}

std::string capitalize(std::string_view text) {
    bool first = true;
    return map_code_points(text, [&](std::uint32_t c) {
        const std::uint32_t mapped = first ? upper(c) : lower(c);
        first = false;
        return mapped;
    });
}

std::string title(std::string_view text) {
    bool in_word = false;
    return map_code_points(text, [&](std::uint32_t c) {
        const std::uint32_t mapped = in_word ? lower(c) : upper(c);
        in_word = is_letter(c);
        return mapped;
    });
}

std::string title_filter(std::string_view text) {
    bool in_word = false;
    return map_code_points(text, [&](std::uint32_t c) {
        const bool separates =
            is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
        const std::uint32_t mapped = in_word ? lower(c) : upper(c);
        in_word = !separates;
        return mapped;
    });
}

bool is_cased(std::string_view text, std::uint32_t (*wanted)(std::uint32_t)) {
    bool any = false;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        if (wanted(point.value) != point.value) return false;
        any = any || upper(point.value) != lower(point.value);
        at += point.size_bytes;
    }
    return any;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string_view> lines;
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        std::size_t end = at + point.size_bytes;
        if (is_line_break(point.value)) {
            if (point.value == '\r' && end < text.size() && text[end] == '\n') ++end;
            lines.push_back(text.substr(begin, (keep_ends ? end : at) - begin));
            begin = end;
        }
        at = end;
    }
    if (begin < text.size()) lines.push_back(text.substr(begin));
    return lines;
}

std::vector<std::string_view> split_spaces(std::string_view text, std::int64_t count_max,
                                           Side from) {
    std::vector<std::string_view> words;
    for (std::string_view rest = text; count_max != 0; --count_max) {
        rest = strip(rest, from == Side::right ? Side::right : Side::left);
        text = rest;
        if (rest.empty()) break;
        // The word ends at the first white space seen from the side we come from.
        if (from == Side::right) {
            std::size_t begin = rest.size();
            while (begin > 0) {
                std::size_t previous = begin - 1;
                while (previous > 0 &&
                       (static_cast<unsigned char>(rest[previous]) & 0xC0U) == 0x80U) {
                    --previous;
                }
                if (is_space(code_point_at(rest, previous).value)) break;
                begin = previous;
            }
            words.push_back(rest.substr(begin));
            rest = rest.substr(0, begin);
        } else {
            std::size_t end = 0;
            while (end < rest.size()) {
                const CodePoint point = code_point_at(rest, end);
                if (is_space(point.value)) break;
                end += point.size_bytes;
            }
            words.push_back(rest.substr(0, end));
            rest = rest.substr(end);
        }
        text = rest;
    }
    // What is left once the count is used up stays whole, without the white space around the cut.
    const std::string_view rest = strip(text, from == Side::right ? Side::right : Side::left);
    if (!rest.empty()) words.push_back(rest);
    if (from == Side::right) std::ranges::reverse(words);
    return words;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       std::int64_t count_max, Side from) {
    std::vector<std::string_view> parts;
    for (; count_max != 0; --count_max) {
        const std::size_t at = from == Side::right ? text.rfind(separator) : text.find(separator);
        if (at == npos) break;
        if (from == Side::right) {
            parts.push_back(text.substr(at + separator.size()));
            text = text.substr(0, at);
        } else {
            parts.push_back(text.substr(0, at));
            text = text.substr(at + separator.size());
        }
    }
    parts.push_back(text);
    if (from == Side::right) std::ranges::reverse(parts);
    return parts;
}

std::string replace(std::string_view text, std::string_view old_text, std::string_view new_text,
                    std::int64_t count_max) {
    std::string result;
    if (old_text.empty()) {
        // Python inserts before every code point and at the end.
        for (std::size_t at = 0;; --count_max) {
            if (count_max != 0) result += new_text;
            if (at >= text.size() || count_max == 0) return result.append(text.substr(at));
            const std::size_t size = code_point_at(text, at).size_bytes;
            result += text.substr(at, size);
            at += size;
        }
    }
    std::size_t begin = 0;
    for (; count_max != 0; --count_max) {
        const std::size_t at = text.find(old_text, begin);
        if (at == npos) break;
        result.append(text.substr(begin, at - begin)).append(new_text);
        begin = at + old_text.size();
    }
    return result.append(text.substr(begin));
}

std::string escape_html(std::string_view text) {
    constexpr std::string_view characters = "&<>'\"";
    constexpr std::string_view entities[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    std::string escaped;
    for (const char c : text) {
        const std::size_t at = characters.find(c);
        if (at == npos) {
            escaped += c;
        } else {
            escaped += entities[at];
        }
    }
    return escaped;
}

void append_quoted(std::string_view text, std::string& output) {
    const bool double_quotes = text.contains('\'') && !text.contains('"');
    const char quote = double_quotes ? '"' : '\'';
    output += quote;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        const std::uint32_t c = point.value;
        if (c == '\\' || c == static_cast<unsigned char>(quote)) {
            output += '\\';
            output += static_cast<char>(c);
        } else if (c == '\n') {
            output += "\\n";
        } else if (c == '\r') {
            output += "\\r";
        } else if (c == '\t') {
            output += "\\t";
        } else if (is_printable(c)) {
            output += text.substr(at, point.size_bytes);
        } else {
            append_hex(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c, output);
        }
        at += point.size_bytes;
    }
    output += quote;
}

void append_json_string(std::string_view text, Escape escape, std::string& output) {
    output += '"';
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        const std::uint32_t c = point.value;
        if (c == '"' || c == '\\') {
            output += '\\';
            output += static_cast<char>(c);
        } else if (c < 0x20) {
            constexpr std::string_view short_forms = "btn?fr";
            if (c >= 8 && c <= 13 && c != 11) {
                output += '\\';
                output += short_forms[c - 8];
            } else {
                append_hex("\\u%04x", c, output);
            }
        } else if (escape == Escape::only_needed || c < 0x7F) {
            output += text.substr(at, point.size_bytes);
        } else if (c < 0x10000) {
            append_hex("\\u%04x", c, output);
        } else {
            append_hex("\\u%04x", 0xD800U + ((c - 0x10000U) >> 10), output);
            append_hex("\\u%04x", 0xDC00U + ((c - 0x10000U) & 0x3FFU), output);
        }
        at += point.size_bytes;
    }
    output += '"';
}

}  // namespace exomesh::model::jinja
