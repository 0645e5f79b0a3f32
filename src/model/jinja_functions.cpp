#include "model/jinja_functions.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <format>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_interpreter.h"

namespace exomesh::model::jinja {

namespace {

// As Jinja2's sandbox.
constexpr std::int64_t range_count_max = 100'000;

Result<Value> range(Interpreter& interpreter, const Arguments& arguments) {
    if (!arguments.named.empty() || arguments.positional.empty() ||
        arguments.positional.size() > 3) {
        return run_time_error("range takes one to three integers");
    }
    std::int64_t numbers[3] = {0, 0, 1};
    for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
        const Value& value = arguments.positional[i];
        if (!value.is(Type::integer) && !value.is(Type::boolean)) {
            return run_time_error("range takes integers, not a value of type " + type_name(value));
        }
        numbers[i] = value.integer();
    }
    if (arguments.positional.size() == 1) std::swap(numbers[0], numbers[1]);
    const auto [start, stop, step] = numbers;
    if (step == 0) return run_time_error("the step of range cannot be zero");
    List items;
    for (std::int64_t at = start; step > 0 ? at < stop : at > stop;) {
        if (std::cmp_equal(items.size(), range_count_max)) {
            return fail(ErrorCode::resource_exhausted,
                        "a range has more than " + std::to_string(range_count_max) + " numbers");
        }
        items.emplace_back(at);
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    EXO_TRY(interpreter.charge(1 + items.size()));
    EXO_TRY_ASSIGN(const Extent extent, extent_of(items));
    const Sequence::Range range{.start = start, .stop = stop, .step = step};
    return Value(
        std::make_shared<const Sequence>(SequenceKind::range, std::move(items), extent, range));
}

// What dict() and namespace() take: pairs or a dictionary, then names.
Result<Dict> dict_of(Interpreter& interpreter, const Arguments& arguments) {
    Dict dict;
    if (arguments.positional.size() > 1) return run_time_error("at most one dictionary is taken");
    if (!arguments.positional.empty()) {
        const Value& source = arguments.positional[0];
        EXO_TRY_ASSIGN(const List items, interpreter.items_of(source));
        for (const Value& item : items) {
            if (source.is(Type::dict)) {
                EXO_TRY(interpreter.charge_bytes(item.extent().size_bytes));
                (void)dict.set(item, *source.dict().find(item));
                continue;
            }
            EXO_TRY_ASSIGN(const List pair, interpreter.items_of(item));
            EXO_TRY(interpreter.charge_bytes(item.extent().size_bytes));
            if (pair.size() != 2 || !dict.set(pair[0], pair[1])) {
                return run_time_error("a dictionary is made of pairs of a key and a value");
            }
        }
    }
    for (const auto& [name, value] : arguments.named) (void)dict.set(Value(name), value);
    EXO_TRY(interpreter.charge(1 + 8 * dict.entries().size()));
    return dict;
}

Result<Value> dict(Interpreter& interpreter, const Arguments& arguments) {
    EXO_TRY_ASSIGN(Dict result, dict_of(interpreter, arguments));
    return make_dict(std::move(result));
}

Result<Value> name_space(Interpreter& interpreter, const Arguments& arguments) {
    EXO_TRY_ASSIGN(Dict attributes, dict_of(interpreter, arguments));
    EXO_TRY(interpreter.charge(16));
    return interpreter.make_namespace(std::move(attributes));
}

Result<Value> cycler(Interpreter&, const Arguments& arguments) {
    if (arguments.positional.empty() || !arguments.named.empty()) {
        return run_time_error("cycler takes at least one value");
    }
    auto result = std::make_shared<Cycler>(arguments.positional);
    EXO_TRY_ASSIGN(result->extent, extent_of(result->items));
    return Value(std::move(result));
}

Result<Value> joiner(Interpreter& interpreter, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"sep"}), 0));
    EXO_TRY_ASSIGN(std::string separator, bound.string(0, ", "));
    EXO_TRY(interpreter.charge_bytes(separator.size()));
    return Value(std::make_shared<Joiner>(std::move(separator)));
}

Result<Value> raise_exception(Interpreter& interpreter, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"message"}), 1));
    EXO_TRY_ASSIGN(std::string message, interpreter.text_of(bound[0]));
    return fail(ErrorCode::invalid_argument, std::move(message));
}

Result<Value> strftime_now(Interpreter& interpreter, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"format"}), 1));
    EXO_TRY_ASSIGN(const std::string format, bound.string(0, ""));
    EXO_TRY(interpreter.charge_bytes(32 * format.size()));
    return interpreter.make_string(format_time(format, interpreter.now_s()));
}

}  // namespace

std::optional<Function> find_function(std::string_view name) {
    static constexpr auto functions = std::to_array<Function>({
        {"range", range},
        {"dict", dict},
        {"namespace", name_space},
        {"cycler", cycler},
        {"joiner", joiner},
        {"raise_exception", raise_exception},
        {"strftime_now", strftime_now},
    });
    const auto* found = std::ranges::find(functions, name, &Function::name);
    if (found == functions.end()) return std::nullopt;
    return *found;
}

std::string format_time(std::string_view format, std::int64_t time_s) {
    // Years 0 to 9999: what the calendar below and the four digits of %Y can show.
    const std::chrono::sys_seconds time{std::chrono::seconds(
        std::clamp(time_s, std::int64_t{-62'167'219'200}, std::int64_t{253'402'300'799}))};
    std::string text;
    for (std::size_t i = 0; i < format.size(); ++i) {
        if (format[i] != '%' || i + 1 >= format.size()) {
            text += format[i];
            continue;
        }
        const char directive = format[++i];
        const bool pads = directive != '-';
        if (!pads && i + 1 < format.size()) ++i;
        constexpr std::string_view known = "aAbBcCdDeFgGhHIjmMnprRSTuUVwWxXyYzZ%";
        if (!known.contains(format[i])) {
            text += '%';
            text += directive;
            if (!pads && format[i] != '-') text += format[i];
            continue;
        }
        const std::string spec = std::string("{:%") + format[i] + "}";
        std::string part = std::vformat(spec, std::make_format_args(time));
        // %-d and its like: without the leading zero.
        if (!pads) part.erase(0, std::min(part.find_first_not_of("0 "), part.size() - 1));
        text += part;
    }
    return text;
}

}  // namespace exomesh::model::jinja
