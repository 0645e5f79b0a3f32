#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_format.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_methods.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

using Names = std::string_view;
using MethodEntry = std::pair<std::string_view, MethodFunction>;

Result<Value> list_of(Interpreter& interpreter, const std::vector<std::string_view>& parts) {
    EXO_TRY(interpreter.charge(1 + 4 * parts.size()));
    List items;
    items.reserve(parts.size());
    for (const std::string_view part : parts) items.emplace_back(std::string(part));
    return make_list(std::move(items));
}

// Work that reads all of the text once.
Result<> charge_text(Interpreter& interpreter, const Value& self) {
    return interpreter.charge_bytes(self.string().size());
}

template <Side side>
Result<Value> strip_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"chars"}), 0));
    EXO_TRY(charge_text(interpreter, self));
    if (!bound.has(0) || bound[0].is(Type::none)) {
        return interpreter.make_string(std::string(strip(self.string(), side)));
    }
    EXO_TRY_ASSIGN(const std::string characters, bound.string(0, ""));
    EXO_TRY(interpreter.charge(characters.size()));
    return interpreter.make_string(std::string(strip(self.string(), side, characters)));
}

template <Side from>
Result<Value> split_method(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"sep", "maxsplit"}), 0));
    EXO_TRY_ASSIGN(std::int64_t count_max, bound.integer(1, -1));
    count_max = std::max<std::int64_t>(count_max, -1);
    // A view of a part takes as much memory as a step may, and a part as little as a character.
    if (!bound.has(0) || bound[0].is(Type::none)) {
        EXO_TRY(interpreter.charge(1 + self.string().size() / 2));
        return list_of(interpreter, split_spaces(self.string(), count_max, from));
    }
    EXO_TRY_ASSIGN(const std::string separator, bound.string(0, ""));
    if (separator.empty()) return run_time_error("a text cannot be split at an empty separator");
    EXO_TRY(interpreter.charge_search(self.string(), separator));
    EXO_TRY(interpreter.charge(self.string().size() / separator.size()));
    return list_of(interpreter, split_at(self.string(), separator, count_max, from));
}

Result<Value> splitlines(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"keepends"}), 0));
    EXO_TRY(interpreter.charge(1 + self.string().size()));
    return list_of(interpreter, split_lines(self.string(), bound.truth(0, false)));
}

template <Side from>
Result<Value> partition(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"sep"}), 1));
    EXO_TRY_ASSIGN(const std::string separator, bound.string(0, ""));
    if (separator.empty()) return run_time_error("a text cannot be split at an empty separator");
    EXO_TRY(interpreter.charge_search(self.string(), separator));
    const std::string& text = self.string();
    const std::size_t at = from == Side::left ? text.find(separator) : text.rfind(separator);
    const bool found = at != std::string::npos;
    if (!found && from == Side::right)
        return make_tuple({Value(std::string()), Value(std::string()), self});
    if (!found) return make_tuple({self, Value(std::string()), Value(std::string())});
    return make_tuple(
        {Value(text.substr(0, at)), bound[0], Value(text.substr(at + separator.size()))});
}

// The bytes of text[start:end], and the code point at which they begin; none where start is beyond.
struct Window {
    std::string_view text;
    std::size_t first = 0;
};
template <std::size_t count>
Result<std::optional<Window>> window_of(const Value& self, const BoundArguments<count>& bound) {
    if (!bound.has(1) && !bound.has(2)) return Window{self.string()};
    const std::string_view text = self.string();
    const auto size = static_cast<std::int64_t>(code_point_count(text));
    std::int64_t limits[2] = {0, std::numeric_limits<std::int64_t>::max()};
    for (std::size_t i = 0; i < 2; ++i) {
        if (!bound.has(i + 1) || bound[i + 1].is(Type::none)) continue;
        EXO_TRY_ASSIGN(limits[i], bound.integer(i + 1, 0));
        if (limits[i] < 0) limits[i] = std::max<std::int64_t>(limits[i] + size, 0);
    }
    limits[1] = std::min(limits[1], size);
    if (limits[0] > limits[1]) return std::nullopt;
    const auto first = static_cast<std::size_t>(limits[0]);
    const std::size_t begin = code_point_offset(text, first);
    const std::size_t end = code_point_offset(text, static_cast<std::size_t>(limits[1]));
    return Window{text.substr(begin, end - begin), first};
}

template <Side side>
Result<Value> affix_test(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"prefix", "start", "end"}), 1));
    EXO_TRY(charge_text(interpreter, self));
    EXO_TRY(interpreter.charge_bytes(bound[0].extent().size_bytes));
    EXO_TRY_ASSIGN(const std::optional<Window> window, window_of(self, bound));
    List affixes = {bound[0]};
    if (bound[0].is(Type::sequence) && bound[0].sequence().kind == SequenceKind::tuple) {
        affixes = bound[0].sequence().items;
    }
    for (const Value& affix : affixes) {
        if (!affix.is(Type::string)) {
            return run_time_error("a text cannot begin or end with a value of type " +
                                  type_name(affix));
        }
        if (!window) continue;
        const bool holds = side == Side::left ? window->text.starts_with(affix.string())
                                              : window->text.ends_with(affix.string());
        if (holds) return Value(true);
    }
    return Value(false);
}

enum class WhenMissing { minus_one, error };
template <Side from, WhenMissing when_missing>
Result<Value> find_text(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"sub", "start", "end"}), 1));
    EXO_TRY_ASSIGN(const std::string wanted, bound.string(0, ""));
    EXO_TRY(interpreter.charge_search(self.string(), wanted));
    EXO_TRY_ASSIGN(const std::optional<Window> window, window_of(self, bound));
    std::size_t at = std::string_view::npos;
    if (window) at = from == Side::left ? window->text.find(wanted) : window->text.rfind(wanted);
    if (at != std::string_view::npos) {
        const std::size_t before = window->first + code_point_count(window->text.substr(0, at));
        return Value(static_cast<std::int64_t>(before));
    }
    if (when_missing == WhenMissing::error)
        return run_time_error("the text does not contain what is looked for");
    return Value(std::int64_t{-1});
}

Result<Value> count(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"sub", "start", "end"}), 1));
    EXO_TRY_ASSIGN(const std::string wanted, bound.string(0, ""));
    EXO_TRY(interpreter.charge_search(self.string(), wanted));
    EXO_TRY_ASSIGN(const std::optional<Window> window, window_of(self, bound));
    if (!window) return Value(std::int64_t{0});
    if (wanted.empty()) return Value(static_cast<std::int64_t>(code_point_count(window->text) + 1));
    std::int64_t found = 0;
    for (std::size_t at = window->text.find(wanted); at != std::string_view::npos;
         at = window->text.find(wanted, at + wanted.size())) {
        ++found;
    }
    return Value(found);
}

Result<Value> replace_method(Interpreter& interpreter, const Value& self,
                             const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"old", "new", "count"}), 2));
    EXO_TRY_ASSIGN(const std::string old_text, bound.string(0, ""));
    EXO_TRY_ASSIGN(const std::string new_text, bound.string(1, ""));
    EXO_TRY_ASSIGN(const std::int64_t count_max, bound.integer(2, -1));
    return replace_checked(interpreter, self.string(), old_text, new_text, count_max);
}

Result<Value> join_method(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"iterable"}), 1));
    if (bound[0].is(Type::undefined)) return Value(std::string());
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(bound[0]));
    std::string text;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!items[i].is(Type::string)) {
            return run_time_error("only strings can be joined, not a value of type " +
                                  type_name(items[i]));
        }
        if (i > 0) text += self.string();
        text += items[i].string();
        EXO_TRY(interpreter.charge_bytes(self.string().size() + items[i].string().size()));
    }
    return interpreter.make_string(std::move(text));
}

using Mapping = std::string (*)(std::string_view);
template <Mapping mapping>
Result<Value> mapped(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return interpreter.make_string(mapping(self.string()));
}

std::string swap_case(std::string_view text) {
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        const std::string_view spelled = text.substr(at, point.size_bytes);
        result += lower(point.value) != point.value ? lower(spelled) : upper(spelled);
        at += point.size_bytes;
    }
    return result;
}

// A test of every code point of a text that is not empty.
template <bool (*holds)(std::uint32_t)>
Result<Value> all_are(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY(charge_text(interpreter, self));
    const std::string_view text = self.string();
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        if (!holds(point.value)) return Value(false);
        at += point.size_bytes;
    }
    return Value(!text.empty());
}

bool is_digit(std::uint32_t c) {
    return c >= '0' && c <= '9';
}
bool is_letter_or_digit(std::uint32_t c) {
    return is_digit(c) || is_letter(c);
}

template <std::uint32_t (*wanted)(std::uint32_t)>
Result<Value> case_is(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY(charge_text(interpreter, self));
    return Value(is_cased(self.string(), wanted));
}

template <Side side>
Result<Value> remove_affix(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"prefix"}), 1));
    EXO_TRY_ASSIGN(const std::string affix, bound.string(0, ""));
    EXO_TRY(interpreter.charge_bytes(affix.size()));
    std::string_view text = self.string();
    if (side == Side::left && text.starts_with(affix)) text.remove_prefix(affix.size());
    if (side == Side::right && text.ends_with(affix)) text.remove_suffix(affix.size());
    return interpreter.make_string(std::string(text));
}

// Pads with `fill`: the text stands on the named side.
template <Side side>
Result<Value> justify(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"width", "fillchar"}), 1));
    EXO_TRY_ASSIGN(const std::int64_t width, bound.integer(0, 0));
    EXO_TRY_ASSIGN(const std::string fill, bound.string(1, " "));
    if (code_point_count(fill) != 1) return run_time_error("the fill must be one character");
    const auto size = static_cast<std::int64_t>(code_point_count(self.string()));
    const std::int64_t missing = std::max(width, size) - size;
    // Python centers with the odd place on the left where the width is odd.
    std::int64_t before = side == Side::left ? 0 : missing;
    if (side == Side::both) before = missing / 2 + (missing & width & 1);
    EXO_TRY_ASSIGN(const Value left, repeat_text(interpreter, fill, before));
    EXO_TRY_ASSIGN(const Value right, repeat_text(interpreter, fill, missing - before));
    return interpreter.make_string(left.string() + self.string() + right.string());
}

Result<Value> zfill(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"width"}), 1));
    EXO_TRY_ASSIGN(const std::int64_t width, bound.integer(0, 0));
    const auto size = static_cast<std::int64_t>(code_point_count(self.string()));
    const std::int64_t missing = std::max(width, size) - size;
    EXO_TRY_ASSIGN(const Value zeros, repeat_text(interpreter, "0", missing));
    std::string text = self.string();
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    return interpreter.make_string(text.insert(has_sign ? 1 : 0, zeros.string()));
}

Result<Value> format_method(Interpreter& interpreter, const Value& self,
                            const Arguments& arguments) {
    return format_braces(interpreter, self.string(), arguments);
}

}  // namespace

MethodFunction find_string_method(std::string_view name) {
    static constexpr auto methods = std::to_array<MethodEntry>({
        {"strip", strip_method<Side::both>},
        {"lstrip", strip_method<Side::left>},
        {"rstrip", strip_method<Side::right>},
        {"split", split_method<Side::left>},
        {"rsplit", split_method<Side::right>},
        {"splitlines", splitlines},
        {"partition", partition<Side::left>},
        {"rpartition", partition<Side::right>},
        {"startswith", affix_test<Side::left>},
        {"endswith", affix_test<Side::right>},
        {"find", find_text<Side::left, WhenMissing::minus_one>},
        {"rfind", find_text<Side::right, WhenMissing::minus_one>},
        {"index", find_text<Side::left, WhenMissing::error>},
        {"rindex", find_text<Side::right, WhenMissing::error>},
        {"count", count},
        {"replace", replace_method},
        {"join", join_method},
        {"upper", mapped<upper>},
        {"lower", mapped<lower>},
        {"casefold", mapped<lower>},
        {"title", mapped<title>},
        {"capitalize", mapped<capitalize>},
        {"swapcase", mapped<swap_case>},
        {"isdigit", all_are<is_digit>},
        {"isdecimal", all_are<is_digit>},
        {"isnumeric", all_are<is_digit>},
        {"isalpha", all_are<is_letter>},
        {"isalnum", all_are<is_letter_or_digit>},
        {"isspace", all_are<is_space>},
        {"isupper", case_is<upper>},
        {"islower", case_is<lower>},
        {"removeprefix", remove_affix<Side::left>},
        {"removesuffix", remove_affix<Side::right>},
        {"ljust", justify<Side::left>},
        {"rjust", justify<Side::right>},
        {"center", justify<Side::both>},
        {"zfill", zfill},
        {"format", format_method},
    });
    const auto* found = std::ranges::find(methods, name, &MethodEntry::first);
    return found == methods.end() ? nullptr : found->second;
}

}  // namespace exomesh::model::jinja
