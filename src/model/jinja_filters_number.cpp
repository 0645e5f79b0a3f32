#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_filter_groups.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

using Names = std::string_view;
using FilterEntry = std::pair<std::string_view, FilterFunction>;

// Digits with single underscores between them, as Python's int() and float() read them.
std::optional<std::string> without_grouping(std::string_view text) {
    std::string digits;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_') {
            digits += text[i];
            continue;
        }
        const auto is_digit = [&](std::size_t at) {
            return at < text.size() &&
                   ((text[at] >= '0' && text[at] <= '9') || (text[at] >= 'a' && text[at] <= 'z') ||
                    (text[at] >= 'A' && text[at] <= 'Z'));
        };
        if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1)) return std::nullopt;
    }
    return digits;
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
    std::optional<std::string> digits = without_grouping(strip(text, Side::both));
    if (!digits) return std::nullopt;
    std::string_view rest = *digits;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    const std::string prefix = lower(rest.substr(0, 2));
    if ((base == 16 && prefix == "0x") || (base == 8 && prefix == "0o") ||
        (base == 2 && prefix == "0b")) {
        rest.remove_prefix(2);
    }
    if (rest.starts_with('-')) return std::nullopt;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
    if (error != std::errc() || end != rest.data() + rest.size()) return std::nullopt;
    return negative ? -value : value;
}

std::optional<double> parse_real(std::string_view text) {
    std::optional<std::string> digits = without_grouping(strip(text, Side::both));
    if (!digits) return std::nullopt;
    std::string_view rest = *digits;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    if (rest.empty() || rest.starts_with('-') || rest.contains('(')) return std::nullopt;
    double value = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (end != rest.data() + rest.size()) return std::nullopt;
    if (error == std::errc::result_out_of_range) {
        const std::size_t e = lower(rest).find("e-");
        value = e == std::string::npos ? HUGE_VAL : 0;
    } else if (error != std::errc()) {
        return std::nullopt;
    }
    return negative ? -value : value;
}

std::optional<std::int64_t> truncated(double value) {
    if (!(std::abs(value) < 9.2e18)) return std::nullopt;
    return static_cast<std::int64_t>(value);
}

Result<Value> to_integer(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"default", "base"}), 0));
    EXO_TRY_ASSIGN(const std::int64_t base, bound.integer(1, 10));
    if (base < 2 || base > 36) return run_time_error("the base must be 2 to 36");
    if (value.is(Type::undefined)) return undefined_error(value);
    std::optional<std::int64_t> result;
    if (value.is(Type::real)) {
        result = truncated(value.real());
    } else if (value.is_number()) {
        result = value.integer();
    } else if (value.is(Type::string)) {
        result = parse_integer(value.string(), static_cast<int>(base));
        if (!result) {
            // "42.23" is 42.
            const std::optional<double> real = parse_real(value.string());
            if (real) result = truncated(*real);
        }
    }
    if (result) return Value(*result);
    return bound.has(0) ? bound[0] : Value(std::int64_t{0});
}

Result<Value> to_real(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"default"}), 0));
    if (value.is(Type::undefined)) return undefined_error(value);
    if (value.is_number()) return Value(value.real());
    if (value.is(Type::string)) {
        if (const std::optional<double> real = parse_real(value.string())) return Value(*real);
    }
    return bound.has(0) ? bound[0] : Value(0.0);
}

Result<Value> absolute(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::undefined)) return undefined_error(value);
    if (!value.is_number()) {
        return run_time_error("a value of type " + type_name(value) + " has no absolute value");
    }
    if (value.is(Type::real)) return Value(std::abs(value.real()));
    if (value.integer() >= 0) return Value(value.integer());
    return arithmetic(interpreter, BinaryOperator::subtract, Value(std::int64_t{0}), value);
}

// Python's round(): to the nearest, a tie to the even one.
double rounded(double value, std::int64_t precision) {
    char buffer[512];
    if (precision < 0) {
        const double scale = std::pow(10.0, static_cast<double>(-precision));
        return std::nearbyint(value / scale) * scale;
    }
    // The decimal text is exact, so its rounding is that of the value itself.
    const auto [end, error] =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed,
                      static_cast<int>(std::min<std::int64_t>(precision, 100)));
    double result = value;
    if (error == std::errc()) std::from_chars(buffer, end, result);
    return result;
}

Result<Value> round(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"precision", "method"}), 0));
    EXO_TRY_ASSIGN(const std::int64_t precision, bound.integer(0, 0));
    EXO_TRY_ASSIGN(const std::string method, bound.string(1, "common"));
    if (value.is(Type::undefined)) return undefined_error(value);
    if (!value.is_number()) {
        return run_time_error("a value of type " + type_name(value) + " cannot be rounded");
    }
    if (precision < -300 || precision > 300) return run_time_error("the precision is out of range");
    if (method != "common" && method != "ceil" && method != "floor") {
        return run_time_error("the method of rounding must be common, ceil or floor");
    }
    const double number = value.real();
    if (method == "common") {
        if (!value.is(Type::real) && precision >= 0) return Value(value.integer());
        const double result = std::isfinite(number) ? rounded(number, precision) : number;
        if (value.is(Type::real)) return Value(result);
        if (const std::optional<std::int64_t> whole = truncated(result)) return Value(*whole);
        return run_time_error("an integer is out of range: only 64 bits are supported");
    }
    if (!std::isfinite(number)) return run_time_error("an infinite number cannot be rounded");
    const double scale = std::pow(10.0, static_cast<double>(precision));
    return Value((method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) /
                 scale);
}

}  // namespace

FilterFunction find_number_filter(std::string_view name) {
    static constexpr auto filters = std::to_array<FilterEntry>(
        {{"int", to_integer}, {"float", to_real}, {"abs", absolute}, {"round", round}});
    const auto* found = std::ranges::find(filters, name, &FilterEntry::first);
    return found == filters.end() ? nullptr : found->second;
}

}  // namespace exomesh::model::jinja
