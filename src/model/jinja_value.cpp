#include "model/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

// Below this many entries a dictionary is scanned; an index would cost more than it saves.
constexpr std::size_t scanned_entry_count_max = 8;

Result<> check(const Extent& extent) {
    if (extent.depth > value_depth_max) {
        return fail(ErrorCode::resource_exhausted,
                    "values are nested more than " + std::to_string(value_depth_max) + " deep");
    }
    if (extent.size_bytes > value_size_bytes_max) {
        return fail(ErrorCode::resource_exhausted,
                    "a value is larger than " + std::to_string(value_size_bytes_max) + " bytes");
    }
    return {};
}

bool hashable(const Value& value) {
    if (value.is(Type::dict)) return false;
    if (!value.is(Type::sequence)) return true;
    if (value.sequence().kind != SequenceKind::tuple) return false;
    return std::ranges::all_of(value.sequence().items, hashable);
}

// Where a value is that equals only itself; many of them must not share one hash.
const void* identity_of(const Value& value) {
    switch (value.type()) {
        case Type::iterator:
            return &value.iterator();
        case Type::name_space:
            return &value.name_space();
        case Type::loop:
            return &value.loop();
        case Type::macro:
            return &value.macro();
        case Type::cycler:
            return &value.cycler();
        case Type::joiner:
            return &value.joiner();
        case Type::undefined:
        case Type::none:
        case Type::boolean:
        case Type::integer:
        case Type::real:
        case Type::string:
        case Type::sequence:
        case Type::dict:
        case Type::method:
        case Type::function:
            break;
    }
    return nullptr;
}

std::size_t hash_of(const Value& value) {
    if (value.is_number()) return std::hash<double>{}(value.real());
    if (value.is(Type::string)) return std::hash<std::string_view>{}(value.string());
    std::size_t hash =
        static_cast<std::size_t>(value.type()) + std::hash<const void*>{}(identity_of(value));
    if (value.is(Type::sequence)) {
        for (const Value& item : value.sequence().items) hash = hash * 31 + hash_of(item);
    }
    return hash;
}

bool equal_lists(const List& left, const List& right) {
    return std::ranges::equal(left, right, equal);
}

bool equal_dicts(const Dict& left, const Dict& right) {
    if (left.entries().size() != right.entries().size()) return false;
    return std::ranges::all_of(left.entries(), [&](const Dict::Entry& entry) {
        const Value* other = right.find(entry.first);
        return other != nullptr && equal(entry.second, *other);
    });
}

template <typename T>
int order(const T& left, const T& right) {
    if (left < right) return -1;
    return right < left ? 1 : 0;
}

void append_items(const List& items, std::string& output) {
    bool first = true;
    for (const Value& item : items) {
        if (!first) output += ", ";
        first = false;
        append_repr(item, output);
    }
}

void append_range(const Sequence::Range& range, std::string& output) {
    output += "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
    output += range.step == 1 ? ")" : ", " + std::to_string(range.step) + ")";
}

void append_sequence(const Sequence& sequence, std::string& output) {
    const bool is_tuple = sequence.kind == SequenceKind::tuple;
    switch (sequence.kind) {
        case SequenceKind::range:
            append_range(sequence.range, output);
            return;
        case SequenceKind::dict_keys:
            output += "dict_keys(";
            break;
        case SequenceKind::dict_values:
            output += "dict_values(";
            break;
        case SequenceKind::dict_items:
            output += "dict_items(";
            break;
        case SequenceKind::list:
        case SequenceKind::tuple:
            break;
    }
    const bool is_view = !is_tuple && sequence.kind != SequenceKind::list;
    output += is_tuple ? '(' : '[';
    append_items(sequence.items, output);
    if (is_tuple && sequence.items.size() == 1) output += ',';
    output += is_tuple ? ')' : ']';
    if (is_view) output += ')';
}

void append_dict(const Dict& dict, std::string& output) {
    output += '{';
    bool first = true;
    for (const auto& [key, value] : dict.entries()) {
        if (!first) output += ", ";
        first = false;
        append_repr(key, output);
        output += ": ";
        append_repr(value, output);
    }
    output += '}';
}

}  // namespace

bool Value::is_number() const {
    return is(Type::boolean) || is(Type::integer) || is(Type::real);
}

std::int64_t Value::integer() const {
    if (is(Type::boolean)) return boolean() ? 1 : 0;
    return std::get<std::int64_t>(data_);
}

double Value::real() const {
    if (is(Type::real)) return std::get<double>(data_);
    return static_cast<double>(integer());
}

Extent Value::extent() const {
    switch (type()) {
        case Type::string:
            return {.size_bytes = 16 + string().size()};
        case Type::sequence:
            return sequence().extent;
        case Type::iterator:
            return iterator().extent;
        case Type::dict:
            return dict().extent();
        case Type::cycler:
            return cycler().extent;
        case Type::method: {
            Extent extent;
            extent.add(method().self.extent());
            return extent;
        }
        case Type::undefined:
        case Type::none:
        case Type::boolean:
        case Type::integer:
        case Type::real:
        case Type::name_space:
        case Type::loop:
        case Type::macro:
        case Type::joiner:
        case Type::function:
            break;
    }
    return {};
}

bool Value::truth() const {
    switch (type()) {
        case Type::undefined:
        case Type::none:
            return false;
        case Type::boolean:
            return boolean();
        case Type::integer:
            return integer() != 0;
        case Type::real:
            return real() != 0;
        case Type::string:
            return !string().empty();
        case Type::sequence:
            return !sequence().items.empty();
        case Type::dict:
            return !dict().entries().empty();
        case Type::iterator:
        case Type::name_space:
        case Type::loop:
        case Type::macro:
        case Type::cycler:
        case Type::joiner:
        case Type::method:
        case Type::function:
            return true;
    }
    return false;
}

bool Value::same_object(const Value& other) const {
    if (type() != other.type()) return false;
    if (is(Type::sequence)) return &sequence() == &other.sequence();
    if (is(Type::dict)) return &dict() == &other.dict();
    return equal(*this, other);
}

std::size_t Dict::position(const Value& key, std::size_t hash) const {
    if (positions_.empty()) {
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            if (equal(entries_[i].first, key)) return i;
        }
        return entries_.size();
    }
    const auto [begin, end] = positions_.equal_range(hash);
    for (auto it = begin; it != end; ++it) {
        if (equal(entries_[it->second].first, key)) return it->second;
    }
    return entries_.size();
}

const Value* Dict::find(const Value& key) const {
    if (!hashable(key)) return nullptr;
    const std::size_t at = position(key, positions_.empty() ? 0 : hash_of(key));
    return at == entries_.size() ? nullptr : &entries_[at].second;
}

const Value* Dict::find(std::string_view key) const {
    if (!positions_.empty()) return find(Value(std::string(key)));
    for (const Entry& entry : entries_) {
        if (entry.first.is(Type::string) && entry.first.string() == key) return &entry.second;
    }
    return nullptr;
}

bool Dict::set(Value key, Value value) {
    if (!hashable(key)) return false;
    extent_.add(key.extent());
    extent_.add(value.extent());
    const std::size_t hash = hash_of(key);
    const std::size_t at = position(key, hash);
    if (at < entries_.size()) {
        entries_[at].second = std::move(value);
        return true;
    }
    // A NaN is found nowhere: many under one hash would only be a chain to walk.
    const std::size_t stored_hash = equal(key, key) ? hash : hash + at;
    entries_.emplace_back(std::move(key), std::move(value));
    if (!positions_.empty()) {
        positions_.emplace(stored_hash, at);
    } else if (entries_.size() > scanned_entry_count_max) {
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            positions_.emplace(hash_of(entries_[i].first), i);
        }
    }
    return true;
}

Result<Extent> extent_of(const List& items) {
    Extent extent{.depth = 1};
    for (const Value& item : items) extent.add(item.extent());
    EXO_TRY(check(extent));
    return extent;
}

Result<Value> make_sequence(SequenceKind kind, List items) {
    EXO_TRY_ASSIGN(const Extent extent, extent_of(items));
    return Value(std::make_shared<const Sequence>(kind, std::move(items), extent));
}

Result<Value> make_list(List items) {
    return make_sequence(SequenceKind::list, std::move(items));
}
Result<Value> make_tuple(List items) {
    return make_sequence(SequenceKind::tuple, std::move(items));
}

Result<Value> make_iterator(List items, Result<> made) {
    EXO_TRY_ASSIGN(const Extent extent, extent_of(items));
    auto iterator = std::make_shared<Iterator>(std::move(items), 0, extent);
    // A limit that was reached ends the rendering at once.
    if (!made && made.error().code != ErrorCode::invalid_argument)
        return std::unexpected(made.error());
    if (!made) iterator->error = std::move(made).error();
    return Value(std::move(iterator));
}

Result<Value> make_dict(Dict dict) {
    EXO_TRY(check(dict.extent()));
    return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value make_undefined(std::string message) {
    return Undefined{std::make_shared<const std::string>(std::move(message))};
}

bool equal(const Value& left, const Value& right) {
    if (left.is_number() && right.is_number()) {
        if (!left.is(Type::real) && !right.is(Type::real)) return left.integer() == right.integer();
        return left.real() == right.real();
    }
    if (left.type() != right.type()) return false;
    switch (left.type()) {
        case Type::undefined:
        case Type::none:
            return true;
        case Type::boolean:
        case Type::integer:
        case Type::real:
            return false;  // handled above
        case Type::string:
            return left.string() == right.string();
        case Type::sequence:
            return left.sequence().kind == right.sequence().kind &&
                   equal_lists(left.sequence().items, right.sequence().items);
        case Type::dict:
            return equal_dicts(left.dict(), right.dict());
        case Type::iterator:
            return &left.iterator() == &right.iterator();
        case Type::name_space:
            return &left.name_space() == &right.name_space();
        case Type::loop:
            return &left.loop() == &right.loop();
        case Type::macro:
            return &left.macro() == &right.macro();
        case Type::cycler:
            return &left.cycler() == &right.cycler();
        case Type::joiner:
            return &left.joiner() == &right.joiner();
        case Type::method:
            return left.method().name == right.method().name &&
                   left.method().self.same_object(right.method().self);
        case Type::function:
            return left.function().call == right.function().call;
    }
    return false;
}

Result<int> compare(const Value& left, const Value& right) {
    if (left.is_number() && right.is_number()) {
        if (!left.is(Type::real) && !right.is(Type::real)) {
            return order(left.integer(), right.integer());
        }
        return order(left.real(), right.real());
    }
    if (left.is(Type::string) && right.is(Type::string))
        return order(left.string(), right.string());
    if (left.is(Type::sequence) && right.is(Type::sequence) &&
        left.sequence().kind == right.sequence().kind &&
        left.sequence().kind <= SequenceKind::tuple) {
        const List& left_items = left.sequence().items;
        const List& right_items = right.sequence().items;
        for (std::size_t i = 0; i < std::min(left_items.size(), right_items.size()); ++i) {
            if (!equal(left_items[i], right_items[i]))
                return compare(left_items[i], right_items[i]);
        }
        return order(left_items.size(), right_items.size());
    }
    for (const Value* value : {&left, &right}) {
        if (value->is(Type::undefined) && value->undefined().message != nullptr) {
            return fail(ErrorCode::invalid_argument, *value->undefined().message);
        }
    }
    return fail(ErrorCode::invalid_argument,
                "cannot order " + type_name(left) + " and " + type_name(right));
}

std::string real_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    char buffer[64];
    const auto [end, error] =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    const std::string_view scientific(buffer, end);
    const std::size_t e = scientific.find('e');
    int exponent = 0;
    const char* digits_begin = scientific.data() + e + (scientific[e + 1] == '+' ? 2 : 1);
    std::from_chars(digits_begin, end, exponent);
    // Python writes an exponent from 1e16 on and below 1e-4.
    if (exponent < -4 || exponent >= 16) return std::string(scientific);
    std::string digits;
    for (const char c : scientific.substr(0, e)) {
        if (c >= '0' && c <= '9') digits += c;
    }
    std::string text = value < 0 || std::signbit(value) ? "-" : "";
    if (exponent < 0) {
        text += "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
        return text;
    }
    const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
    if (digits.size() <= whole)
        return text + digits + std::string(whole - digits.size(), '0') + ".0";
    return text + digits.substr(0, whole) + "." + digits.substr(whole);
}

void append_repr(const Value& value, std::string& output) {
    switch (value.type()) {
        case Type::undefined:
            output += "Undefined";
            return;
        case Type::none:
            output += "None";
            return;
        case Type::boolean:
            output += value.boolean() ? "True" : "False";
            return;
        case Type::integer:
            output += std::to_string(value.integer());
            return;
        case Type::real:
            output += real_text(value.real());
            return;
        case Type::string:
            if (value.is_markup()) output += "Markup(";
            append_quoted(value.string(), output);
            if (value.is_markup()) output += ')';
            return;
        case Type::sequence:
            append_sequence(value.sequence(), output);
            return;
        case Type::dict:
            append_dict(value.dict(), output);
            return;
        case Type::name_space:
            // The attributes are not shown: they may contain the namespace itself.
            output += "<Namespace>";
            return;
        case Type::iterator:
        case Type::loop:
        case Type::macro:
        case Type::cycler:
        case Type::joiner:
        case Type::method:
        case Type::function:
            output += "<" + type_name(value) + ">";
            return;
    }
}

void append_text(const Value& value, std::string& output) {
    if (value.is(Type::undefined)) return;
    if (value.is(Type::string)) {
        output += value.string();
    } else {
        append_repr(value, output);
    }
}

std::string to_text(const Value& value) {
    std::string text;
    append_text(value, text);
    return text;
}

std::string to_repr(const Value& value) {
    std::string text;
    append_repr(value, text);
    return text;
}

std::string type_name(const Value& value) {
    switch (value.type()) {
        case Type::undefined:
            return "undefined";
        case Type::none:
            return "none";
        case Type::boolean:
            return "boolean";
        case Type::integer:
            return "integer";
        case Type::real:
            return "float";
        case Type::string:
            return "string";
        case Type::sequence:
            return value.sequence().kind == SequenceKind::tuple ? "tuple" : "list";
        case Type::iterator:
            return "generator";
        case Type::dict:
            return "dictionary";
        case Type::name_space:
            return "namespace";
        case Type::loop:
            return "loop";
        case Type::macro:
            return "macro";
        case Type::cycler:
            return "cycler";
        case Type::joiner:
            return "joiner";
        case Type::method:
            return "method";
        case Type::function:
            return "function";
    }
    return "value";
}

}  // namespace exomesh::model::jinja
