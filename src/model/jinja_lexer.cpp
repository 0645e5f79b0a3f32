#include "model/jinja_lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

constexpr std::size_t not_found = std::string_view::npos;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_name_byte(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// One line break is "\n", whatever the file says, and one at the very end is not part of the text.
std::string normalize(std::string_view source) {
    std::string result;
    result.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] == '\r') {
            result += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
        } else {
            result += source[i];
        }
    }
    if (result.ends_with('\n')) result.pop_back();
    return result;
}

class Lexer {
  public:
    explicit Lexer(std::string_view source) : source_(source) {}

    Result<std::vector<Token>> run() {
        while (at_ < source_.size()) {
            const std::size_t tag = find_tag();
            if (tag == not_found) {
                push_text(source_.substr(at_));
                advance_to(source_.size());
                break;
            }
            EXO_TRY(lex_tag(tag));
        }
        push(TokenKind::end);
        return std::move(tokens_);
    }

  private:
    [[nodiscard]] std::size_t find_tag() const {
        for (std::size_t at = source_.find('{', at_); at != not_found;
             at = source_.find('{', at + 1)) {
            if (at + 1 >= source_.size()) return not_found;
            const char next = source_[at + 1];
            if (next == '{' || next == '%' || next == '#') return at;
        }
        return not_found;
    }

    Result<> lex_tag(std::size_t tag) {
        const char type = source_[tag + 1];
        const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
        const bool has_sign = sign == '-' || sign == '+';
        push_text(text_before(tag, has_sign ? sign : '\0', type));
        advance_to(tag + (has_sign ? 3 : 2));
        if (type == '#') return lex_comment();
        if (type == '%') {
            if (const auto raw = raw_begin()) return lex_raw(*raw);
            push(TokenKind::statement_begin);
        } else {
            push(TokenKind::expression_begin);
        }
        return lex_code(type == '%');
    }

    // The text up to a tag, stripped as the tag's sign and lstrip_blocks say.
    [[nodiscard]] std::string_view text_before(std::size_t tag, char sign, char type) const {
        const std::string_view text = source_.substr(at_, tag - at_);
        if (sign == '-') return strip(text, Side::right);
        if (sign == '+' || type == '{') return text;
        const std::size_t line_break = text.rfind('\n');
        if (line_break == not_found && !line_starting_) return text;
        const std::size_t begin = line_break == not_found ? 0 : line_break + 1;
        return strip(text.substr(begin), Side::left).empty() ? text.substr(0, begin) : text;
    }

    Result<> lex_comment() {
        const std::size_t end = source_.find("#}", at_);
        if (end == not_found) return syntax_error(line_, "the comment has no end: `#}` is missing");
        const bool has_sign = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
        finish_tag(end + 2, has_sign ? source_[end - 1] : '\0', TrimNewline::yes);
        return {};
    }

    // Past `raw %}` where the statement here is exactly that; its closing sign.
    struct RawBegin {
        std::size_t end;
        bool strips;
    };
    [[nodiscard]] std::optional<RawBegin> raw_begin() const {
        std::size_t at = skip_spaces(at_);
        if (source_.substr(at, 3) != "raw") return std::nullopt;
        at = skip_spaces(at + 3);
        const bool strips = source_.substr(at, 3) == "-%}";
        if (!strips && source_.substr(at, 2) != "%}") return std::nullopt;
        return RawBegin{at + (strips ? 3U : 2U), strips};
    }

    Result<> lex_raw(RawBegin begin) {
        finish_tag(begin.end, begin.strips ? '-' : '\0', TrimNewline::no);
        for (std::size_t tag = source_.find("{%", at_); tag != not_found;
             tag = source_.find("{%", tag + 1)) {
            std::size_t at = tag + 2;
            const char sign = at < source_.size() ? source_[at] : '\0';
            const bool has_sign = sign == '-' || sign == '+';
            at = skip_spaces(has_sign ? at + 1 : at);
            if (source_.substr(at, 6) != "endraw") continue;
            at = skip_spaces(at + 6);
            const char end_sign = at < source_.size() ? source_[at] : '\0';
            const bool has_end_sign = end_sign == '-' || end_sign == '+';
            if (has_end_sign) ++at;
            if (source_.substr(at, 2) != "%}") continue;
            push_text(text_before(tag, has_sign ? sign : '\0', '%'));
            finish_tag(at + 2, has_end_sign ? end_sign : '\0', TrimNewline::yes);
            return {};
        }
        return syntax_error(line_, "the raw block has no end: `{% endraw %}` is missing");
    }

    Result<> lex_code(bool is_statement) {
        std::string brackets;
        const std::string_view closing = is_statement ? "%}" : "}}";
        while (true) {
            advance_to(skip_spaces(at_));
            if (at_ >= source_.size()) {
                return syntax_error(line_, "the template ends inside a tag: `" +
                                               std::string(closing) + "` is missing");
            }
            if (brackets.empty()) {
                const char sign = source_[at_];
                const bool has_sign = sign == '-' || (sign == '+' && is_statement);
                if (source_.substr(at_ + (has_sign ? 1 : 0), 2) == closing) {
                    push(is_statement ? TokenKind::statement_end : TokenKind::expression_end);
                    finish_tag(at_ + (has_sign ? 3 : 2), has_sign ? sign : '\0',
                               is_statement ? TrimNewline::yes : TrimNewline::no);
                    return {};
                }
            }
            EXO_TRY(lex_token(brackets));
        }
    }

    Result<> lex_token(std::string& brackets) {
        const char c = source_[at_];
        if (is_digit(c)) return lex_number();
        if (is_name_byte(c)) {
            std::size_t end = at_;
            while (end < source_.size() && is_name_byte(source_[end])) ++end;
            push(TokenKind::name, std::string(source_.substr(at_, end - at_)));
            advance_to(end);
            return {};
        }
        if (c == '\'' || c == '"') return lex_string(c);
        return lex_symbol(brackets);
    }

    Result<> lex_symbol(std::string& brackets) {
        constexpr std::string_view doubles[] = {"//", "**", "==", "!=", ">=", "<="};
        const std::string_view two = source_.substr(at_, 2);
        if (std::ranges::find(doubles, two) != std::end(doubles)) {
            push(TokenKind::symbol, std::string(two));
            advance_to(at_ + 2);
            return {};
        }
        const char c = source_[at_];
        if (!std::string_view("+-/*%~[](){}><=.:|,;").contains(c)) {
            return syntax_error(line_, "unexpected character " + described(c));
        }
        if (c == '(') brackets += ')';
        if (c == '[') brackets += ']';
        if (c == '{') brackets += '}';
        if (c == ')' || c == ']' || c == '}') {
            if (!brackets.ends_with(c)) return syntax_error(line_, "unexpected " + described(c));
            brackets.pop_back();
        }
        push(TokenKind::symbol, std::string(1, c));
        advance_to(at_ + 1);
        return {};
    }

    static std::string described(char c) {
        std::string quoted;
        append_quoted(std::string_view(&c, 1), quoted);
        return quoted;
    }

    // The end of a run of digits that may be grouped by single underscores.
    template <typename IsDigit>
    [[nodiscard]] std::size_t digits_end(std::size_t at, IsDigit is_wanted) const {
        while (at < source_.size()) {
            if (is_wanted(source_[at])) {
                ++at;
            } else if (source_[at] == '_' && at + 1 < source_.size() &&
                       is_wanted(source_[at + 1])) {
                at += 2;
            } else {
                break;
            }
        }
        return at;
    }

    Result<> lex_number() {
        if (const std::size_t end = real_end(); end != at_) {
            const std::string text = without_underscores(end);
            push(TokenKind::real);
            tokens_.back().real = std::strtod(text.c_str(), nullptr);
            advance_to(end);
            return {};
        }
        const char prefix = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
        int base = 10;
        if (source_[at_] == '0') {
            if (prefix == 'x' || prefix == 'X') base = 16;
            if (prefix == 'o' || prefix == 'O') base = 8;
            if (prefix == 'b' || prefix == 'B') base = 2;
        }
        const auto is_wanted = [&](char c) {
            const int digit = hex_digit(c);
            return digit >= 0 && digit < base;
        };
        const std::size_t begin = base == 10 ? at_ : at_ + 2;
        std::size_t end = digits_end(begin, is_wanted);
        // As in Python, a number other than zero does not begin with 0.
        if (base == 10 && source_[at_] == '0')
            end = digits_end(at_, [](char c) { return c == '0'; });
        if (end == begin) return syntax_error(line_, "a number has no digits");
        advance_to(begin);
        const std::string text = without_underscores(end);
        std::int64_t value = 0;
        const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value, base);
        if (parsed.ec != std::errc())
            return syntax_error(line_, "the number " + text + " is too large");
        push(TokenKind::integer);
        tokens_.back().integer = value;
        advance_to(end);
        return {};
    }

    // The end of the floating point number here; here itself where there is none.
    [[nodiscard]] std::size_t real_end() const {
        if (at_ > 0 && source_[at_ - 1] == '.') return at_;
        std::size_t end = digits_end(at_, is_digit);
        bool is_real = false;
        if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
            end = digits_end(end + 1, is_digit);
            is_real = true;
        }
        if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
            std::size_t digits = end + 1;
            if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-'))
                ++digits;
            if (digits < source_.size() && is_digit(source_[digits])) {
                end = digits_end(digits, is_digit);
                is_real = true;
            }
        }
        return is_real ? end : at_;
    }

    [[nodiscard]] std::string without_underscores(std::size_t end) const {
        std::string text(source_.substr(at_, end - at_));
        std::erase(text, '_');
        return text;
    }

    Result<> lex_string(char quote) {
        std::size_t end = at_ + 1;
        while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
        if (end >= source_.size()) return syntax_error(line_, "a string has no end");
        EXO_TRY_ASSIGN(std::string text, unescape(source_.substr(at_ + 1, end - at_ - 1)));
        push(TokenKind::string, std::move(text));
        advance_to(end + 1);
        return {};
    }

    Result<std::string> unescape(std::string_view text) const {
        std::string result;
        result.reserve(text.size());
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] != '\\' || i + 1 >= text.size()) {
                result += text[i];
                continue;
            }
            const char c = text[++i];
            constexpr std::string_view from = "\\'\"abfnrtv";
            constexpr std::string_view to = "\\'\"\a\b\f\n\r\t\v";
            if (const std::size_t at = from.find(c); at != not_found) {
                result += to[at];
            } else if (c >= '0' && c <= '7') {
                std::uint32_t value = 0;
                std::size_t end = i;
                for (; end < text.size() && end < i + 3 && text[end] >= '0' && text[end] <= '7';
                     ++end) {
                    value = value * 8 + static_cast<std::uint32_t>(text[end] - '0');
                }
                append_code_point(value, result);
                i = end - 1;
            } else if (c == 'x' || c == 'u' || c == 'U') {
                const std::size_t size = c == 'x' ? 2 : c == 'u' ? 4 : 8;
                EXO_TRY_ASSIGN(const std::uint32_t value,
                               unescape_hex(text.substr(i + 1, size), size));
                append_code_point(value, result);
                i += size;
            } else if (c == 'N') {
                return syntax_error(line_, "character names (\\N) are not supported in strings");
            } else if (c != '\n') {
                result += '\\';  // an unknown escape stays as written
                result += c;
            }
        }
        return result;
    }

    [[nodiscard]] Result<std::uint32_t> unescape_hex(std::string_view digits,
                                                     std::size_t size) const {
        std::uint32_t value = 0;
        bool is_valid = digits.size() == size;
        for (const char c : digits) {
            const int digit = hex_digit(c);
            is_valid = is_valid && digit >= 0;
            value = value * 16 + static_cast<std::uint32_t>(std::max(digit, 0));
        }
        if (!is_valid || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
            return syntax_error(line_, "a string has an escape that names no character");
        }
        return value;
    }

    enum class TrimNewline { no, yes };

    // Moves past a tag that ends at `end`, and past the white space its sign or trim_blocks
    // removes.
    void finish_tag(std::size_t end, char sign, TrimNewline trim) {
        if (sign == '-') {
            end = skip_spaces(end);
        } else if (trim == TrimNewline::yes && sign != '+' && end < source_.size() &&
                   source_[end] == '\n') {
            ++end;
        }
        advance_to(end);
        line_starting_ = source_[end - 1] == '\n';
    }

    [[nodiscard]] std::size_t skip_spaces(std::size_t at) const {
        while (at < source_.size()) {
            const CodePoint point = code_point_at(source_, at);
            if (!is_space(point.value)) break;
            at += point.size_bytes;
        }
        return std::min(at, source_.size());
    }

    void advance_to(std::size_t end) {
        line_ +=
            static_cast<std::uint32_t>(std::ranges::count(source_.substr(at_, end - at_), '\n'));
        at_ = end;
    }

    void push(TokenKind kind, std::string text = {}) {
        tokens_.push_back({.kind = kind, .line = line_, .text = std::move(text)});
    }

    void push_text(std::string_view text) {
        if (!text.empty()) push(TokenKind::text, std::string(text));
    }

    std::string_view source_;
    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    std::uint32_t line_ = 1;
    bool line_starting_ = true;  // nothing but removed text stands before `at_` on its line
};

}  // namespace

std::unexpected<Error> syntax_error(std::uint32_t line, std::string_view message) {
    return fail(ErrorCode::invalid_argument,
                "chat template, line " + std::to_string(line) + ": " + std::string(message));
}

Result<std::vector<Token>> tokenize(std::string_view source) {
    const std::string normalized = normalize(source);
    return Lexer(normalized).run();
}

}  // namespace exomesh::model::jinja
