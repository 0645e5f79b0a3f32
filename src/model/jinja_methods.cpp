#include "model/jinja_methods.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_operators.h"

namespace exomesh::model::jinja {

namespace {

using Names = std::string_view;
using MethodEntry = std::pair<std::string_view, MethodFunction>;

Result<Value> view(Interpreter& interpreter, const Value& self, const Arguments& arguments,
                   SequenceKind kind) {
    EXO_TRY(bind_none(arguments));
    const auto& entries = self.dict().entries();
    EXO_TRY(interpreter.charge(1 + 2 * entries.size()));
    List items;
    items.reserve(entries.size());
    for (const auto& [key, value] : entries) {
        if (kind == SequenceKind::dict_items) {
            EXO_TRY_ASSIGN(Value pair, make_tuple({key, value}));
            items.push_back(std::move(pair));
        } else {
            items.push_back(kind == SequenceKind::dict_keys ? key : value);
        }
    }
    return make_sequence(kind, std::move(items));
}

Result<Value> dict_keys(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    return view(interpreter, self, arguments, SequenceKind::dict_keys);
}
Result<Value> dict_values(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    return view(interpreter, self, arguments, SequenceKind::dict_values);
}
Result<Value> dict_items(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    return view(interpreter, self, arguments, SequenceKind::dict_items);
}

Result<Value> dict_get(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    if (!arguments.named.empty()) return run_time_error("get takes no named arguments");
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<Names>({"key", "default"}), 1));
    EXO_TRY(interpreter.charge(bound[0].extent().size_bytes / bytes_per_step));
    if (const Value* value = self.dict().find(bound[0])) return *value;
    if (!Dict().set(bound[0], None{})) {
        return run_time_error("a value of type " + type_name(bound[0]) +
                              " cannot be a dictionary's key");
    }
    return bound.has(1) ? bound[1] : Value(None{});
}

Result<Value> dict_copy(Interpreter&, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return self;
}

Result<Value> list_index(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"value"}), 1));
    const List& items = self.sequence().items;
    EXO_TRY(interpreter.charge(1 + items.size()));
    EXO_TRY(charge_comparisons(interpreter, self.sequence(), bound[0]));
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (equal(items[i], bound[0])) return Value(static_cast<std::int64_t>(i));
    }
    return run_time_error("the value is not in the list");
}

Result<Value> list_count(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound, bind_arguments(arguments, std::to_array<Names>({"value"}), 1));
    const List& items = self.sequence().items;
    EXO_TRY(interpreter.charge(1 + items.size()));
    EXO_TRY(charge_comparisons(interpreter, self.sequence(), bound[0]));
    return Value(static_cast<std::int64_t>(
        std::ranges::count_if(items, [&](const Value& item) { return equal(item, bound[0]); })));
}

Result<Value> list_copy(Interpreter&, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return self;
}

Result<Value> real_is_integer(Interpreter&, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return Value(std::isfinite(self.real()) && std::trunc(self.real()) == self.real());
}

Result<Value> loop_cycle(Interpreter&, const Value& self, const Arguments& arguments) {
    if (arguments.positional.empty() || !arguments.named.empty()) {
        return run_time_error("loop.cycle takes at least one value");
    }
    const auto index = static_cast<std::size_t>(std::max<std::int64_t>(self.loop().index0, 0));
    return arguments.positional[index % arguments.positional.size()];
}

Result<Value> loop_changed(Interpreter& interpreter, const Value& self,
                           const Arguments& arguments) {
    Loop& loop = self.loop();
    // What an ended loop remembered nobody would clear: it could be the loop itself, or end a chain
    // of loops too long to free.
    if (loop.scope == nullptr) return run_time_error("loop.changed works only within its loop");
    EXO_TRY_ASSIGN(const Extent extent, extent_of(arguments.positional));
    EXO_TRY(interpreter.charge_bytes(extent.size_bytes));
    const bool is_same =
        loop.changed && std::ranges::equal(*loop.changed, arguments.positional, equal);
    loop.changed = arguments.positional;
    return Value(!is_same);
}

Result<Value> cycler_next(Interpreter&, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    Cycler& cycler = self.cycler();
    Value value = cycler.items[cycler.position];
    cycler.position = (cycler.position + 1) % cycler.items.size();
    return value;
}

Result<Value> cycler_reset(Interpreter&, const Value& self, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    self.cycler().position = 0;
    return Value(None{});
}

template <std::size_t count>
MethodFunction find_in(const std::array<MethodEntry, count>& entries, std::string_view name) {
    const auto* found = std::ranges::find(entries, name, &MethodEntry::first);
    return found == entries.end() ? nullptr : found->second;
}

Result<std::optional<Value>> loop_attribute(Interpreter& interpreter, Loop& loop,
                                            std::string_view name) {
    if (name == "index0") return Value(loop.index0);
    if (name == "index") return Value(loop.index0 + 1);
    if (name == "first") return Value(loop.index0 == 0);
    if (name == "depth0") return Value(loop.nesting);
    if (name == "depth") return Value(loop.nesting + 1);
    if (name == "previtem") {
        return loop.previous ? *loop.previous : make_undefined("there is no previous item");
    }
    if (name == "nextitem") {
        EXO_TRY_ASSIGN(const std::optional<Value> next, interpreter.peek(loop));
        return next ? *next : make_undefined("there is no next item");
    }
    if (name == "last") {
        EXO_TRY_ASSIGN(const std::optional<Value> next, interpreter.peek(loop));
        return Value(!next.has_value());
    }
    if (name == "length" || name == "revindex" || name == "revindex0") {
        EXO_TRY_ASSIGN(const std::int64_t length, interpreter.length(loop));
        if (name == "length") return Value(length);
        return Value(length - loop.index0 - (name == "revindex" ? 0 : 1));
    }
    return std::nullopt;
}

// What Jinja2's immutable sandbox hides: methods that would change a shared value.
bool changes_value(const Value& self, std::string_view name) {
    constexpr auto list_methods = std::to_array<Names>(
        {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"});
    constexpr auto dict_methods =
        std::to_array<Names>({"clear", "pop", "popitem", "setdefault", "update"});
    if (self.is(Type::dict)) return std::ranges::contains(dict_methods, name);
    return self.is(Type::sequence) && self.sequence().kind == SequenceKind::list &&
           std::ranges::contains(list_methods, name);
}

}  // namespace

MethodFunction find_method(const Value& self, std::string_view name) {
    static constexpr auto dict_methods = std::to_array<MethodEntry>({{"get", dict_get},
                                                                     {"items", dict_items},
                                                                     {"keys", dict_keys},
                                                                     {"values", dict_values},
                                                                     {"copy", dict_copy}});
    static constexpr auto list_methods = std::to_array<MethodEntry>(
        {{"index", list_index}, {"count", list_count}, {"copy", list_copy}});
    static constexpr auto loop_methods =
        std::to_array<MethodEntry>({{"cycle", loop_cycle}, {"changed", loop_changed}});
    static constexpr auto cycler_methods =
        std::to_array<MethodEntry>({{"next", cycler_next}, {"reset", cycler_reset}});
    switch (self.type()) {
        case Type::string:
            return find_string_method(name);
        case Type::dict:
            return find_in(dict_methods, name);
        case Type::loop:
            return find_in(loop_methods, name);
        case Type::cycler:
            return find_in(cycler_methods, name);
        case Type::sequence: {
            const SequenceKind kind = self.sequence().kind;
            if (kind > SequenceKind::range) return nullptr;
            if (name == "copy" && kind != SequenceKind::list) return nullptr;
            return find_in(list_methods, name);
        }
        case Type::real:
            return name == "is_integer" ? real_is_integer : nullptr;
        case Type::undefined:
        case Type::none:
        case Type::boolean:
        case Type::integer:
        case Type::iterator:
        case Type::name_space:
        case Type::macro:
        case Type::joiner:
        case Type::method:
        case Type::function:
            break;
    }
    return nullptr;
}

Result<std::optional<Value>> own_attribute(Interpreter& interpreter, const Value& base,
                                           std::string_view name) {
    if (find_method(base, name) != nullptr) {
        EXO_TRY(extent_of({base}));
        return Value(std::make_shared<const BoundMethod>(base, std::string(name)));
    }
    if (changes_value(base, name)) {
        return make_undefined("`" + std::string(name) + "` would change the " + type_name(base) +
                              ", which templates may not");
    }
    if (base.is(Type::loop)) return loop_attribute(interpreter, base.loop(), name);
    if (base.is(Type::cycler) && name == "current") {
        return base.cycler().items[base.cycler().position];
    }
    if (base.is(Type::macro) && name == "name") return Value(base.macro().definition->name);
    if (base.is(Type::name_space)) {
        if (const Value* value = base.name_space().attributes.find(name)) return *value;
    }
    return std::nullopt;
}

}  // namespace exomesh::model::jinja
