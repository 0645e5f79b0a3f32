#include "model/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "model/jinja_interpreter.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

constexpr std::size_t field_width_max = 10'000;
constexpr std::size_t precision_max = 100;

struct Spec {
    char fill = ' ';
    char align = '\0';  // '<', '>', '^', '=', or 0 for the type's own
    char sign = '-';
    bool alternate = false;
    bool grouped = false;
    std::size_t width = 0;
    std::optional<std::size_t> precision;
    char type = '\0';
};

std::optional<std::size_t> read_number(std::string_view text, std::size_t& at) {
    std::size_t value = 0;
    const std::size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        value =
            std::min<std::size_t>(value * 10 + static_cast<std::size_t>(text[at] - '0'), 1 << 20);
    }
    if (at == begin) return std::nullopt;
    return value;
}

std::string padded(std::string text, const Spec& spec, char default_align) {
    const std::size_t count = code_point_count(text);
    if (count >= spec.width) return text;
    const std::size_t missing = spec.width - count;
    const char align = spec.align == '\0' ? default_align : spec.align;
    if (align == '<') return text + std::string(missing, spec.fill);
    if (align == '^') {
        return std::string(missing / 2, spec.fill) + text +
               std::string(missing - missing / 2, spec.fill);
    }
    const bool after_sign =
        align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ');
    const std::size_t at = after_sign ? 1 : 0;
    return text.insert(at, std::string(missing, spec.fill));
}

void group_thousands(std::string& digits) {
    const std::size_t end = std::min(digits.find_first_of(".e"), digits.size());
    const std::size_t begin = digits.starts_with('-') ? 1 : 0;
    for (std::size_t at = end; at > begin + 3;) {
        at -= 3;
        digits.insert(at, ",");
    }
}

std::string signed_text(std::string text, const Spec& spec) {
    if (spec.sign != '-' && !text.starts_with('-')) text.insert(0, 1, spec.sign);
    return text;
}

std::string integer_text(std::int64_t value, const Spec& spec) {
    const int base = spec.type == 'x' || spec.type == 'X' ? 16
                     : spec.type == 'o'                   ? 8
                     : spec.type == 'b'                   ? 2
                                                          : 10;
    char buffer[72];
    const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value, base);
    std::string text(buffer, end);
    if (spec.type == 'X') text = upper(text);
    if (spec.alternate && base != 10) {
        text.insert(text.starts_with('-') ? 1 : 0, {'0', spec.type});
    }
    if (spec.grouped) group_thousands(text);
    return signed_text(std::move(text), spec);
}

Result<std::string> real_formatted(double value, const Spec& spec) {
    if (!std::isfinite(value)) return signed_text(real_text(value), spec);
    const char type = spec.type == '\0' ? 'g' : spec.type;
    const double shown = type == '%' ? value * 100 : value;
    auto precision = static_cast<int>(spec.precision.value_or(6));
    std::chars_format format = std::chars_format::fixed;
    if (type == 'e' || type == 'E') format = std::chars_format::scientific;
    if (type == 'g' || type == 'G') {
        format = std::chars_format::general;
        precision = std::max(precision, 1);
    }
    char buffer[512];
    const auto [end, error] =
        std::to_chars(buffer, buffer + sizeof buffer, shown, format, precision);
    if (error != std::errc()) return run_time_error("a number is too long to format");
    std::string text(buffer, end);
    if (type == 'E' || type == 'G') text = upper(text);
    if (spec.grouped) group_thousands(text);
    if (type == '%') text += '%';
    return signed_text(std::move(text), spec);
}

class PercentFormatter {
  public:
    PercentFormatter(Interpreter& interpreter, std::string_view format, const Value& values)
        : interpreter_(interpreter), format_(format), values_(values) {
        is_tuple_ = values.is(Type::sequence) && values.sequence().kind == SequenceKind::tuple;
    }

    Result<Value> run() {
        EXO_TRY(interpreter_.charge_bytes(format_.size()));
        std::string text;
        while (at_ < format_.size()) {
            const char c = format_[at_++];
            if (c != '%') {
                text += c;
                continue;
            }
            EXO_TRY(directive(text));
            EXO_TRY(interpreter_.charge(4));
        }
        const std::size_t given = is_tuple_ ? values_.sequence().items.size() : 1;
        const bool may_be_left = values_.is(Type::undefined) || values_.is(Type::dict) ||
                                 (!is_tuple_ && values_.is(Type::sequence));
        if (used_ < given && !may_be_left) {
            return run_time_error("% has more values than its text has places for");
        }
        return interpreter_.make_string(std::move(text));
    }

  private:
    Result<> directive(std::string& text) {
        if (at_ >= format_.size()) return run_time_error("a format ends after %");
        std::optional<Value> named;
        if (format_[at_] == '(') {
            const std::size_t end = format_.find(')', at_);
            if (end == std::string_view::npos || !values_.is(Type::dict)) {
                return run_time_error("%(name) needs a dictionary");
            }
            const Value* value = values_.dict().find(format_.substr(at_ + 1, end - at_ - 1));
            if (value == nullptr) return run_time_error("a format names a key that is missing");
            named = *value;
            at_ = end + 1;
        }
        EXO_TRY_ASSIGN(const Spec spec, read_spec());
        if (spec.type == '%') {
            text += '%';
            return {};
        }
        if (!named) {
            EXO_TRY_ASSIGN(named, next_value());
        }
        EXO_TRY_ASSIGN(std::string part, convert(*named, spec));
        return interpreter_.append(padded(std::move(part), spec, '>'), text);
    }

    Result<Spec> read_spec() {
        Spec spec;
        for (; at_ < format_.size(); ++at_) {
            const char c = format_[at_];
            if (c == '-') {
                spec.align = '<';
            } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
                spec.sign = c;
            } else if (c == '0') {
                spec.fill = '0';
            } else if (c == '#') {
                spec.alternate = true;
            } else if (c != ' ') {
                break;
            }
        }
        spec.width = read_number(format_, at_).value_or(0);
        if (at_ < format_.size() && format_[at_] == '.') {
            ++at_;
            spec.precision = read_number(format_, at_).value_or(0);
        }
        if (at_ >= format_.size())
            return run_time_error("a format ends within a place for a value");
        spec.type = format_[at_++];
        if (spec.width > field_width_max || spec.precision.value_or(0) > precision_max) {
            return fail(ErrorCode::resource_exhausted, "a format asks for too much space");
        }
        if (spec.align == '<') {
            spec.fill = ' ';
        } else if (spec.fill == '0') {
            const bool is_text = std::string_view("srac").contains(spec.type);
            if (is_text) spec.fill = ' ';
            spec.align = is_text ? '>' : '=';
        }
        return spec;
    }

    Result<Value> next_value() {
        if (!is_tuple_) {
            if (used_++ > 0) return run_time_error("a format has more places than values");
            return values_;
        }
        const List& items = values_.sequence().items;
        if (used_ >= items.size()) return run_time_error("a format has more places than values");
        return items[used_++];
    }

    Result<std::string> convert(const Value& value, const Spec& spec) {
        switch (spec.type) {
            case 's':
            case 'r': {
                EXO_TRY(interpreter_.charge_bytes(value.extent().size_bytes));
                std::string text = spec.type == 's' ? to_text(value) : to_repr(value);
                if (spec.precision) text.resize(code_point_offset(text, *spec.precision));
                return text;
            }
            case 'd':
            case 'i':
            case 'u':
            case 'x':
            case 'X':
            case 'o': {
                if (value.is(Type::undefined)) return undefined_error(value);
                const bool is_decimal = std::string_view("diu").contains(spec.type);
                if (!value.is_number() || (value.is(Type::real) && !is_decimal)) {
                    return run_time_error("a place for a number got a value of type " +
                                          type_name(value));
                }
                if (value.is(Type::real) && !(std::abs(value.real()) < 9e18)) {
                    return run_time_error("a number is too large for an integer");
                }
                const std::int64_t number = value.is(Type::real)
                                                ? static_cast<std::int64_t>(value.real())
                                                : value.integer();
                return integer_text(number, spec);
            }
            case 'f':
            case 'F':
            case 'e':
            case 'E':
            case 'g':
            case 'G':
                if (value.is(Type::undefined)) return undefined_error(value);
                if (!value.is_number()) {
                    return run_time_error("a place for a number got a value of type " +
                                          type_name(value));
                }
                return real_formatted(value.real(), spec);
            default:
                break;
        }
        return run_time_error("a format has an unknown kind of place after %");
    }

    Interpreter& interpreter_;
    std::string_view format_;
    const Value& values_;
    std::size_t at_ = 0;
    std::size_t used_ = 0;
    bool is_tuple_ = false;
};

class BraceFormatter {
  public:
    BraceFormatter(Interpreter& interpreter, std::string_view format, const Arguments& arguments)
        : interpreter_(interpreter), format_(format), arguments_(arguments) {}

    Result<Value> run() {
        EXO_TRY(interpreter_.charge_bytes(format_.size()));
        std::string text;
        while (at_ < format_.size()) {
            const char c = format_[at_++];
            const bool doubled = at_ < format_.size() && format_[at_] == c;
            if ((c == '{' || c == '}') && doubled) {
                text += c;
                ++at_;
            } else if (c == '{') {
                EXO_TRY(field(text));
                EXO_TRY(interpreter_.charge(4));
            } else if (c == '}') {
                return run_time_error("a format has a single `}`");
            } else {
                text += c;
            }
        }
        return interpreter_.make_string(std::move(text));
    }

  private:
    Result<> field(std::string& text) {
        const std::size_t end = format_.find('}', at_);
        if (end == std::string_view::npos) return run_time_error("a format has a single `{`");
        std::string_view body = format_.substr(at_, end - at_);
        at_ = end + 1;
        std::string_view spec_text;
        if (const std::size_t colon = body.find(':'); colon != std::string_view::npos) {
            spec_text = body.substr(colon + 1);
            body = body.substr(0, colon);
        }
        char conversion = '\0';
        if (body.size() >= 2 && body[body.size() - 2] == '!') {
            conversion = body.back();
            body.remove_suffix(2);
        }
        if (body.contains('{') || spec_text.contains('{')) {
            return run_time_error("formats within formats are not supported");
        }
        EXO_TRY_ASSIGN(const Value value, look_up(body));
        EXO_TRY(interpreter_.charge_bytes(value.extent().size_bytes));
        if (conversion == 's' || conversion == 'r') {
            EXO_TRY_ASSIGN(
                const std::string part,
                convert(Value(conversion == 's' ? to_text(value) : to_repr(value)), spec_text));
            return interpreter_.append(part, text);
        }
        if (conversion != '\0')
            return run_time_error("a format has an unknown conversion after `!`");
        EXO_TRY_ASSIGN(const std::string part, convert(value, spec_text));
        return interpreter_.append(part, text);
    }

    Result<Value> look_up(std::string_view path) {
        const std::size_t first_end = std::min(path.find_first_of(".["), path.size());
        EXO_TRY_ASSIGN(Value value, first_value(path.substr(0, first_end)));
        for (std::size_t at = first_end; at < path.size();) {
            if (path[at] == '.') {
                const std::size_t end = std::min(path.find_first_of(".[", at + 1), path.size());
                EXO_TRY_ASSIGN(value,
                               interpreter_.attribute(value, path.substr(at + 1, end - at - 1)));
                at = end;
                continue;
            }
            const std::size_t end = path.find(']', at);
            if (path[at] != '[' || end == std::string_view::npos) {
                return run_time_error("a format has a malformed name");
            }
            const std::string_view key = path.substr(at + 1, end - at - 1);
            std::size_t digits = 0;
            const std::optional<std::size_t> number = read_number(key, digits);
            const bool is_number = number && digits == key.size();
            EXO_TRY_ASSIGN(value, interpreter_.item(
                                      value, is_number ? Value(static_cast<std::int64_t>(*number))
                                                       : Value(std::string(key))));
            at = end + 1;
        }
        return value;
    }

    Result<Value> first_value(std::string_view name) {
        std::size_t digits = 0;
        std::optional<std::size_t> position = read_number(name, digits);
        if (name.empty()) {
            position = next_position_++;
        } else if (!position || digits != name.size()) {
            for (const auto& [key, value] : arguments_.named) {
                if (key == name) return value;
            }
            return run_time_error("a format names `" + std::string(name) + "`, which is missing");
        }
        if (*position >= arguments_.positional.size()) {
            return run_time_error("a format has more places than values");
        }
        return arguments_.positional[*position];
    }

    static Result<Spec> read_spec(std::string_view text) {
        Spec spec;
        std::size_t at = 0;
        const auto is_align = [&](std::size_t i) {
            return i < text.size() && std::string_view("<>^=").contains(text[i]);
        };
        if (is_align(1)) {
            spec.fill = text[0];
            spec.align = text[1];
            at = 2;
        } else if (is_align(0)) {
            spec.align = text[0];
            at = 1;
        }
        const auto skip = [&](char c) {
            if (at == text.size() || text[at] != c) return false;
            ++at;
            return true;
        };
        if (skip('+')) {
            spec.sign = '+';
        } else if (skip(' ')) {
            spec.sign = ' ';
        } else {
            (void)skip('-');
        }
        spec.alternate = skip('#');
        if (skip('0') && spec.align == '\0') {
            spec.fill = '0';
            spec.align = '=';
        }
        spec.width = read_number(text, at).value_or(0);
        spec.grouped = skip(',');
        if (skip('.')) {
            spec.precision = read_number(text, at);
            if (!spec.precision) return run_time_error("a format has a `.` without a precision");
        }
        if (at < text.size()) spec.type = text[at++];
        if (at != text.size()) return run_time_error("a format specification is malformed");
        if (spec.width > field_width_max || spec.precision.value_or(0) > precision_max) {
            return fail(ErrorCode::resource_exhausted, "a format asks for too much space");
        }
        return spec;
    }

    static Result<std::string> convert(const Value& value, std::string_view spec_text) {
        if (spec_text.empty()) return to_text(value);
        EXO_TRY_ASSIGN(Spec spec, read_spec(spec_text));
        const bool is_whole = value.is(Type::integer) || value.is(Type::boolean);
        const auto is_one_of = [&](std::string_view types) {
            return spec.type != '\0' && types.contains(spec.type);
        };
        if (is_whole && (spec.type == '\0' || is_one_of("dxXob"))) {
            return padded(integer_text(value.integer(), spec), spec, '>');
        }
        if (value.is_number() && (is_one_of("eEfFgG%") || spec.type == '\0')) {
            if (spec.type == '\0' && !spec.precision) {
                return padded(signed_text(real_text(value.real()), spec), spec, '>');
            }
            EXO_TRY_ASSIGN(std::string text, real_formatted(value.real(), spec));
            return padded(std::move(text), spec, '>');
        }
        const bool is_plain = value.is(Type::string) && (spec.type == '\0' || spec.type == 's') &&
                              spec.sign == '-' && !spec.grouped && spec.align != '=';
        if (!is_plain) {
            return run_time_error("a value of type " + type_name(value) +
                                  " does not take this format specification");
        }
        std::string text = value.string();
        if (spec.precision) text.resize(code_point_offset(text, *spec.precision));
        return padded(std::move(text), spec, '<');
    }

    Interpreter& interpreter_;
    std::string_view format_;
    const Arguments& arguments_;
    std::size_t at_ = 0;
    std::size_t next_position_ = 0;
};

}  // namespace

Result<Value> format_percent(Interpreter& interpreter, std::string_view format,
                             const Value& values) {
    return PercentFormatter(interpreter, format, values).run();
}

Result<Value> format_braces(Interpreter& interpreter, std::string_view format,
                            const Arguments& arguments) {
    return BraceFormatter(interpreter, format, arguments).run();
}

}  // namespace exomesh::model::jinja
