#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_filter_groups.h"
#include "model/jinja_filters.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_operators.h"
#include "model/jinja_tests.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

using Names = std::string_view;
using FilterEntry = std::pair<std::string_view, FilterFunction>;

// Follows a path such as "function.name" or 0; none leads to the value itself. A missing step
// becomes `otherwise` where there is one.
Result<Value> follow(Interpreter& interpreter, Value value, const Value& path,
                     const Value* otherwise) {
    if (path.is(Type::none)) return value;
    const auto step = [&](const Value& key) -> Result<> {
        EXO_TRY_ASSIGN(value, interpreter.item(value, key));
        if (value.is(Type::undefined) && otherwise != nullptr) value = *otherwise;
        return {};
    };
    if (path.is(Type::integer)) {
        EXO_TRY(step(path));
        return value;
    }
    if (!path.is(Type::string))
        return run_time_error("an attribute must be a string or an integer");
    EXO_TRY(interpreter.charge(path.string().size()));
    for (const std::string_view part : split_at(path.string(), ".", -1, Side::left)) {
        const bool is_number =
            !part.empty() && part.size() < 10 &&
            std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
        EXO_TRY(step(is_number ? Value(static_cast<std::int64_t>(std::stoi(std::string(part))))
                               : Value(std::string(part))));
    }
    return value;
}

// What sorting and grouping compare: strings without regard to case, unless told otherwise.
Result<Value> folded(Interpreter& interpreter, Value value, bool case_sensitive) {
    if (case_sensitive || !value.is(Type::string)) return value;
    return interpreter.make_string(lower(value.string()));
}

struct Keyed {
    Value key;
    Value value;
};

// A stable merge sort that stops at two keys without an order.
Result<std::vector<Keyed>> sorted(Interpreter& interpreter, std::vector<Keyed> items,
                                  bool reverse) {
    std::vector<Keyed> merged(items.size());
    for (std::size_t width = 1; width < items.size(); width *= 2) {
        EXO_TRY(interpreter.charge(items.size()));
        for (std::size_t begin = 0; begin < items.size(); begin += 2 * width) {
            const std::size_t middle = std::min(begin + width, items.size());
            const std::size_t end = std::min(begin + 2 * width, items.size());
            std::size_t left = begin;
            std::size_t right = middle;
            for (std::size_t at = begin; at < end; ++at) {
                bool take_right = left == middle;
                if (left < middle && right < end) {
                    const Comparison wanted = reverse ? Comparison::greater : Comparison::less;
                    EXO_TRY_ASSIGN(take_right,
                                   compare(interpreter, wanted, items[right].key, items[left].key));
                }
                merged[at] = std::move(items[take_right ? right++ : left++]);
            }
        }
        std::swap(items, merged);
    }
    return items;
}

Result<List> values_of(Result<std::vector<Keyed>> keyed) {
    if (!keyed) return std::unexpected(std::move(keyed).error());
    List values;
    values.reserve(keyed->size());
    for (Keyed& item : *keyed) values.push_back(std::move(item.value));
    return values;
}

Result<Value> length(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::undefined)) return Value(std::int64_t{0});
    if (value.is(Type::string)) {
        EXO_TRY(interpreter.charge_bytes(value.string().size()));
        return Value(static_cast<std::int64_t>(code_point_count(value.string())));
    }
    if (value.is(Type::sequence))
        return Value(static_cast<std::int64_t>(value.sequence().items.size()));
    if (value.is(Type::dict))
        return Value(static_cast<std::int64_t>(value.dict().entries().size()));
    if (value.is(Type::loop)) {
        EXO_TRY_ASSIGN(const std::int64_t count, interpreter.length(value.loop()));
        return Value(count);
    }
    return run_time_error("a value of type " + type_name(value) + " has no length");
}

Result<Value> first(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::iterator)) {
        Iterator& iterator = value.iterator();
        if (iterator.next < iterator.items.size()) return iterator.items[iterator.next++];
        if (iterator.error) return std::unexpected(*iterator.error);
    } else {
        EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
        if (!items.empty()) return items.front();
    }
    return make_undefined("there is no first item: the sequence is empty");
}

Result<Value> last(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::iterator)) return run_time_error("a generator cannot be read from its end");
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    if (!items.empty()) return items.back();
    return make_undefined("there is no last item: the sequence is empty");
}

Result<Value> join(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"d", "attribute"}), 0));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    std::string separator;
    if (bound.has(0)) {
        EXO_TRY_ASSIGN(separator, interpreter.text_of(bound[0]));
    }
    std::string text;
    for (std::size_t i = 0; i < items.size(); ++i) {
        Value item = items[i];
        if (bound.has(1)) {
            EXO_TRY_ASSIGN(item, follow(interpreter, item, bound[1], nullptr));
        }
        if (i > 0) text += separator;
        EXO_TRY(interpreter.charge_bytes(separator.size() + item.extent().size_bytes));
        append_text(item, text);
    }
    return interpreter.make_string(std::move(text));
}

Result<Value> list(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(List items, interpreter.items_of(value));
    return make_list(std::move(items));
}

Result<Value> reverse(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(List items, interpreter.items_of(value));
    std::ranges::reverse(items);
    if (!value.is(Type::string)) {
        return value.is(Type::iterator) ? make_list(std::move(items))
                                        : make_iterator(std::move(items));
    }
    std::string text;
    for (const Value& item : items) text += item.string();
    return interpreter.make_string(std::move(text));
}

// A filter that yields its items one by one in Jinja2: what fails is told to who consumes them.
using Generate = Result<> (*)(Interpreter&, const Value&, const Arguments&, List&);
template <Generate generate>
Result<Value> generator(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    List items;
    Result<> made = generate(interpreter, value, arguments, items);
    return make_iterator(std::move(items), std::move(made));
}

Result<> items_filter(Interpreter& interpreter, const Value& value, const Arguments& arguments,
                      List& result) {
    EXO_TRY(bind_none(arguments));
    if (value.is(Type::undefined)) return {};
    if (!value.is(Type::dict)) {
        return run_time_error("items takes a dictionary, not a value of type " + type_name(value));
    }
    EXO_TRY(interpreter.charge(1 + 4 * value.dict().entries().size()));
    for (const auto& [key, item] : value.dict().entries()) {
        EXO_TRY_ASSIGN(Value pair, make_tuple({key, item}));
        result.push_back(std::move(pair));
    }
    return {};
}

Result<Value> dictsort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"case_sensitive", "by", "reverse"}), 0));
    EXO_TRY_ASSIGN(const std::string by, bound.string(1, "key"));
    if (by != "key" && by != "value") return run_time_error("dictsort sorts by key or value");
    if (value.is(Type::undefined)) return undefined_error(value);
    if (!value.is(Type::dict)) {
        return run_time_error("dictsort takes a dictionary, not a value of type " +
                              type_name(value));
    }
    std::vector<Keyed> keyed;
    EXO_TRY(interpreter.charge(1 + 4 * value.dict().entries().size()));
    for (const auto& [key, item] : value.dict().entries()) {
        EXO_TRY_ASSIGN(Value pair, make_tuple({key, item}));
        EXO_TRY_ASSIGN(Value sorted_by,
                       folded(interpreter, by == "key" ? key : item, bound.truth(0, false)));
        keyed.push_back({std::move(sorted_by), std::move(pair)});
    }
    EXO_TRY_ASSIGN(List pairs,
                   values_of(sorted(interpreter, std::move(keyed), bound.truth(2, false))));
    return make_list(std::move(pairs));
}

// Several paths separated by commas sort by the first, then the second...
Result<Value> sort_key(Interpreter& interpreter, const Value& item, const Value& paths,
                       bool case_sensitive) {
    if (!paths.is(Type::string)) {
        EXO_TRY_ASSIGN(Value key, follow(interpreter, item, paths, nullptr));
        return folded(interpreter, std::move(key), case_sensitive);
    }
    EXO_TRY(interpreter.charge(paths.string().size()));
    List keys;
    for (const std::string_view path : split_at(paths.string(), ",", -1, Side::left)) {
        EXO_TRY_ASSIGN(Value key, follow(interpreter, item, Value(std::string(path)), nullptr));
        EXO_TRY_ASSIGN(key, folded(interpreter, std::move(key), case_sensitive));
        keys.push_back(std::move(key));
    }
    return make_list(std::move(keys));
}

Result<Value> sort(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"reverse", "case_sensitive", "attribute"}),
                       0));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    std::vector<Keyed> keyed;
    for (const Value& item : items) {
        EXO_TRY_ASSIGN(Value key,
                       sort_key(interpreter, item, bound.has(2) ? bound[2] : Value(None{}),
                                bound.truth(1, false)));
        keyed.push_back({std::move(key), item});
    }
    EXO_TRY_ASSIGN(List result,
                   values_of(sorted(interpreter, std::move(keyed), bound.truth(0, false))));
    return make_list(std::move(result));
}

Result<> unique(Interpreter& interpreter, const Value& value, const Arguments& arguments,
                List& result) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"case_sensitive", "attribute"}), 0));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    Dict seen;
    for (const Value& item : items) {
        EXO_TRY_ASSIGN(Value key,
                       follow(interpreter, item, bound.has(1) ? bound[1] : Value(None{}), nullptr));
        EXO_TRY_ASSIGN(key, folded(interpreter, std::move(key), bound.truth(0, false)));
        EXO_TRY(interpreter.charge(2 + key.extent().size_bytes / bytes_per_step));
        if (seen.find(key) != nullptr) continue;
        if (!seen.set(std::move(key), None{}))
            return run_time_error("unique takes values that can be keys");
        result.push_back(item);
    }
    return {};
}

Result<Value> groupby(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"attribute", "default", "case_sensitive"}),
                       1));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    const Value* otherwise = bound.has(1) ? &bound[1] : nullptr;
    const bool case_sensitive = bound.truth(2, false);
    std::vector<Keyed> keyed;
    for (const Value& item : items) {
        EXO_TRY_ASSIGN(Value key, follow(interpreter, item, bound[0], otherwise));
        EXO_TRY_ASSIGN(key, folded(interpreter, std::move(key), case_sensitive));
        keyed.push_back({std::move(key), item});
    }
    EXO_TRY_ASSIGN(keyed, sorted(interpreter, std::move(keyed), false));
    List groups;
    for (std::size_t begin = 0; begin < keyed.size();) {
        List members;
        std::size_t end = begin;
        for (; end < keyed.size() && equal(keyed[end].key, keyed[begin].key); ++end) {
            members.push_back(keyed[end].value);
        }
        // The group is called as its first member spells it.
        EXO_TRY_ASSIGN(Value name, follow(interpreter, members[0], bound[0], otherwise));
        EXO_TRY_ASSIGN(Value list_value, make_list(std::move(members)));
        EXO_TRY_ASSIGN(Value group, make_tuple({std::move(name), std::move(list_value)}));
        groups.push_back(std::move(group));
        begin = end;
    }
    return make_list(std::move(groups));
}

Result<> map(Interpreter& interpreter, const Value& value, const Arguments& arguments,
             List& result) {
    if (!value.truth()) return {};
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    result.reserve(items.size());
    if (arguments.positional.empty()) {
        EXO_TRY_ASSIGN(
            const auto bound,
            bind_arguments(arguments, std::to_array<Names>({"attribute", "default"}), 1));
        const Value* otherwise = bound.has(1) && !bound[1].is(Type::none) ? &bound[1] : nullptr;
        for (const Value& item : items) {
            EXO_TRY_ASSIGN(Value mapped, follow(interpreter, item, bound[0], otherwise));
            result.push_back(std::move(mapped));
        }
        return {};
    }
    const Value& name = arguments.positional[0];
    const FilterFunction filter = name.is(Type::string) ? find_filter(name.string()) : nullptr;
    if (filter == nullptr) return run_time_error("map names a filter that does not exist");
    const Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()},
                         arguments.named};
    for (const Value& item : items) {
        EXO_TRY(interpreter.charge(4));
        EXO_TRY_ASSIGN(Value mapped, filter(interpreter, item, rest));
        result.push_back(std::move(mapped));
    }
    return {};
}

enum class Of { item, attribute };
template <bool wanted, Of of>
Result<> select(Interpreter& interpreter, const Value& value, const Arguments& arguments,
                List& result) {
    if (!value.truth()) return {};
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    constexpr std::size_t test_at = of == Of::attribute ? 1 : 0;
    const List& given = arguments.positional;
    if (given.size() < test_at) return run_time_error("the name of the attribute is missing");
    TestFunction test = nullptr;
    Arguments rest{{}, arguments.named};
    if (given.size() > test_at) {
        if (given[test_at].is(Type::string)) test = find_test(given[test_at].string());
        if (test == nullptr) return run_time_error("select names a test that does not exist");
        rest.positional.assign(given.begin() + test_at + 1, given.end());
    }
    for (const Value& item : items) {
        EXO_TRY(interpreter.charge(4));
        Value tested = item;
        if (of == Of::attribute) {
            EXO_TRY_ASSIGN(tested, follow(interpreter, item, given[0], nullptr));
        }
        bool holds = tested.truth();
        if (test != nullptr) {
            EXO_TRY_ASSIGN(holds, test(interpreter, tested, rest));
        }
        if (holds == wanted) result.push_back(item);
    }
    return {};
}

template <Comparison better>
Result<Value> extreme(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"case_sensitive", "attribute"}), 0));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    if (items.empty())
        return make_undefined("there is no least or greatest item: the sequence is empty");
    std::optional<Keyed> best;
    for (const Value& item : items) {
        EXO_TRY_ASSIGN(Value key,
                       follow(interpreter, item, bound.has(1) ? bound[1] : Value(None{}), nullptr));
        EXO_TRY_ASSIGN(key, folded(interpreter, std::move(key), bound.truth(0, false)));
        bool is_better = true;
        if (best) {
            EXO_TRY_ASSIGN(is_better, compare(interpreter, better, key, best->key));
        }
        if (is_better) best = Keyed{std::move(key), item};
    }
    return best->value;
}

Result<Value> sum(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"attribute", "start"}), 0));
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    Value total = bound.has(1) ? bound[1] : Value(std::int64_t{0});
    if (total.is(Type::string)) return run_time_error("sum does not add strings: use join");
    for (const Value& item : items) {
        EXO_TRY_ASSIGN(const Value part,
                       follow(interpreter, item, bound.has(0) ? bound[0] : Value(None{}), nullptr));
        EXO_TRY_ASSIGN(total, arithmetic(interpreter, BinaryOperator::add, total, part));
    }
    return total;
}

Result<> batch(Interpreter& interpreter, const Value& value, const Arguments& arguments,
               List& result) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"linecount", "fill_with"}), 1));
    EXO_TRY_ASSIGN(const std::int64_t size, bound.integer(0, 0));
    if (size < 1 || size > 1'000'000) return run_time_error("the size of a batch is out of range");
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(value));
    for (std::size_t begin = 0; begin < items.size(); begin += static_cast<std::size_t>(size)) {
        const std::size_t end = std::min(begin + static_cast<std::size_t>(size), items.size());
        List members(items.begin() + static_cast<std::ptrdiff_t>(begin),
                     items.begin() + static_cast<std::ptrdiff_t>(end));
        if (bound.has(1) && !bound[1].is(Type::none)) {
            EXO_TRY(interpreter.charge(static_cast<std::uint64_t>(size)));
            members.resize(static_cast<std::size_t>(size), bound[1]);
        }
        EXO_TRY_ASSIGN(Value batch_value, make_list(std::move(members)));
        result.push_back(std::move(batch_value));
    }
    return {};
}

Result<Value> default_filter(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(
        const auto bound,
        bind_arguments(arguments, std::to_array<Names>({"default_value", "boolean"}), 0));
    const bool is_missing = value.is(Type::undefined) || (bound.truth(1, false) && !value.truth());
    if (!is_missing) return value;
    return bound.has(0) ? bound[0] : Value(std::string());
}

Result<Value> attr(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"name"}), 1));
    EXO_TRY_ASSIGN(const std::string name, bound.string(0, ""));
    if (value.is(Type::dict)) {
        Dict none;
        EXO_TRY_ASSIGN(const Value empty, make_dict(std::move(none)));
        EXO_TRY_ASSIGN(Value method, interpreter.attribute(empty, name));
        if (method.is(Type::undefined)) return method;
    }
    return interpreter.attribute(value, name);
}

}  // namespace

FilterFunction find_list_filter(std::string_view name) {
    static constexpr auto filters = std::to_array<FilterEntry>({
        {"length", length},
        {"count", length},
        {"first", first},
        {"last", last},
        {"join", join},
        {"list", list},
        {"reverse", reverse},
        {"items", generator<items_filter>},
        {"dictsort", dictsort},
        {"sort", sort},
        {"unique", generator<unique>},
        {"groupby", groupby},
        {"map", generator<map>},
        {"select", generator<select<true, Of::item>>},
        {"reject", generator<select<false, Of::item>>},
        {"selectattr", generator<select<true, Of::attribute>>},
        {"rejectattr", generator<select<false, Of::attribute>>},
        {"min", extreme<Comparison::less>},
        {"max", extreme<Comparison::greater>},
        {"sum", sum},
        {"batch", generator<batch>},
        {"default", default_filter},
        {"d", default_filter},
        {"attr", attr},
    });
    const auto* found = std::ranges::find(filters, name, &FilterEntry::first);
    return found == filters.end() ? nullptr : found->second;
}

}  // namespace exomesh::model::jinja
