#include <algorithm>
#include <array>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_filter_groups.h"
#include "model/jinja_format.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_json.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

using Names = std::string_view;
using FilterEntry = std::pair<std::string_view, FilterFunction>;

template <std::string (*mapping)(std::string_view)>
Result<Value> mapped(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    return interpreter.make_string(mapping(text));
}

Result<Value> string(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::string)) return value;
    EXO_TRY_ASSIGN(std::string text, interpreter.text_of(value));
    return interpreter.make_string(std::move(text));
}

Result<Value> trim(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"chars"}), 0));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    if (!bound.has(0) || bound[0].is(Type::none)) {
        return interpreter.make_string(std::string(strip(text, Side::both)));
    }
    EXO_TRY_ASSIGN(const std::string characters, bound.string(0, ""));
    EXO_TRY(interpreter.charge(characters.size()));
    return interpreter.make_string(std::string(strip(text, Side::both, characters)));
}

Result<Value> replace_filter(Interpreter& interpreter, const Value& value,
                             const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"old", "new", "count"}), 2));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    EXO_TRY_ASSIGN(const std::string old_text, interpreter.text_of(bound[0]));
    EXO_TRY_ASSIGN(const std::string new_text, interpreter.text_of(bound[1]));
    const bool has_count = bound.has(2) && !bound[2].is(Type::none);
    std::int64_t count_max = -1;
    if (has_count) {
        EXO_TRY_ASSIGN(count_max, bound.integer(2, -1));
    }
    return replace_checked(interpreter, text, old_text, new_text, count_max);
}

Result<Value> indent(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"width", "first", "blank"}), 0));
    if (value.is(Type::undefined)) return undefined_error(value);
    if (!value.is(Type::string)) {
        return run_time_error("only text can be indented, not a value of type " + type_name(value));
    }
    std::string margin(4, ' ');
    if (bound.has(0) && bound[0].is(Type::string)) {
        margin = bound[0].string();
    } else {
        EXO_TRY_ASSIGN(const std::int64_t width, bound.integer(0, 4));
        EXO_TRY_ASSIGN(const Value spaces, repeat_text(interpreter, " ", width));
        margin = spaces.string();
    }
    EXO_TRY(interpreter.charge(1 + value.string().size()));
    // The added line break makes an empty text one line and keeps a last, empty line.
    const std::string ended = value.string() + "\n";
    const auto lines = split_lines(ended, false);
    EXO_TRY_ASSIGN(const Value margins,
                   repeat_text(interpreter, margin, static_cast<std::int64_t>(lines.size())));
    std::string text = bound.truth(1, false) ? margin : std::string();
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (i > 0) {
            text += '\n';
            if (bound.truth(2, false) || !lines[i].empty()) text += margin;
        }
        text += lines[i];
    }
    return interpreter.make_string(std::move(text));
}

Result<Value> safe(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const Value text, string(interpreter, value, arguments));
    return text.as_markup();
}

Result<Value> force_escape(Interpreter& interpreter, const Value& value,
                           const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    EXO_TRY_ASSIGN(const Value escaped, interpreter.make_string(escape_html(text)));
    return escaped.as_markup();
}

Result<Value> escape(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    if (value.is_markup()) return safe(interpreter, value, arguments);
    return force_escape(interpreter, value, arguments);
}

Result<Value> format(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    if (!arguments.positional.empty() && !arguments.named.empty()) {
        return run_time_error("format takes positional or named arguments, not both");
    }
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    if (arguments.named.empty()) {
        EXO_TRY_ASSIGN(const Value values, make_tuple(arguments.positional));
        return format_percent(interpreter, text, values);
    }
    Dict dict;
    for (const auto& [name, named] : arguments.named) (void)dict.set(Value(name), named);
    EXO_TRY_ASSIGN(const Value values, make_dict(std::move(dict)));
    return format_percent(interpreter, text, values);
}

Result<Value> center(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"width"}), 0));
    EXO_TRY_ASSIGN(const std::int64_t width, bound.integer(0, 80));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    const auto size = static_cast<std::int64_t>(code_point_count(text));
    const std::int64_t missing = std::max(width, size) - size;
    const std::int64_t before = missing / 2 + (missing & width & 1);
    EXO_TRY_ASSIGN(const Value left, repeat_text(interpreter, " ", before));
    EXO_TRY_ASSIGN(const Value right, repeat_text(interpreter, " ", missing - before));
    return interpreter.make_string(left.string() + text + right.string());
}

Result<Value> wordcount(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    std::int64_t count = 0;
    bool in_word = false;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint point = code_point_at(text, at);
        const bool is_word = is_letter(point.value) || point.value == '_' ||
                             (point.value >= '0' && point.value <= '9');
        if (is_word && !in_word) ++count;
        in_word = is_word;
        at += point.size_bytes;
    }
    return Value(count);
}

Result<JsonStyle> json_style(const BoundArguments<4>& bound) {
    JsonStyle style;
    style.escape = bound.truth(0, false) ? Escape::ascii : Escape::only_needed;
    if (bound.has(1) && !bound[1].is(Type::none)) {
        style.item_separator = ",";
        if (bound[1].is(Type::string)) {
            style.indent = bound[1].string();
        } else {
            EXO_TRY_ASSIGN(const std::int64_t width, bound.integer(1, 0));
            style.indent =
                std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(width, 0, 100)), ' ');
        }
    }
    if (bound.has(2) && !bound[2].is(Type::none)) {
        const Value& pair = bound[2];
        const bool is_pair = pair.is(Type::sequence) && pair.sequence().items.size() == 2 &&
                             pair.sequence().items[0].is(Type::string) &&
                             pair.sequence().items[1].is(Type::string);
        if (!is_pair) return run_time_error("separators must be two strings");
        style.item_separator = pair.sequence().items[0].string();
        style.key_separator = pair.sequence().items[1].string();
    }
    style.sort_keys = bound.truth(3, false);
    const std::size_t separators_size = style.item_separator.size() + style.key_separator.size();
    if (separators_size > 100 || (style.indent && style.indent->size() > 100)) {
        return run_time_error("the separators or the indent of tojson are too long");
    }
    return style;
}

Result<Value> tojson(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments,
                       std::to_array<Names>({"ensure_ascii", "indent", "separators", "sort_keys"}),
                       0));
    EXO_TRY_ASSIGN(const JsonStyle style, json_style(bound));
    const Extent extent = value.extent();
    // Every item may cost a separator, and an indent for each level it is deep.
    const std::size_t indent_size = style.indent ? style.indent->size() * (extent.depth + 1) : 0;
    const std::size_t growth =
        1 + (style.item_separator.size() + style.key_separator.size() + indent_size) / 16;
    EXO_TRY(interpreter.charge(extent.size_bytes / bytes_per_step * growth));
    EXO_TRY_ASSIGN(std::string text, to_json(value, style));
    return interpreter.make_string(std::move(text));
}

}  // namespace

FilterFunction find_text_filter(std::string_view name) {
    static constexpr auto filters = std::to_array<FilterEntry>({
        {"upper", mapped<upper>},
        {"lower", mapped<lower>},
        {"title", mapped<title_filter>},
        {"capitalize", mapped<capitalize>},
        {"string", string},
        {"safe", safe},
        {"trim", trim},
        {"replace", replace_filter},
        {"indent", indent},
        {"escape", escape},
        {"e", escape},
        {"forceescape", force_escape},
        {"format", format},
        {"center", center},
        {"wordcount", wordcount},
        {"tojson", tojson},
    });
    const auto* found = std::ranges::find(filters, name, &FilterEntry::first);
    return found == filters.end() ? nullptr : found->second;
}

}  // namespace exomesh::model::jinja
