// Values of the template language, with Python's semantics where a template can see them: truth,
// equality, order, str() and repr().
//
// Strings, sequences and dictionaries never change once made, so copies share them. Namespaces and
// macros, which can come to contain themselves, belong to the Interpreter and outlive every value
// of one rendering. A value's nesting is limited where it is made, so that walking or freeing it
// cannot exhaust the stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace exomesh::model::jinja {

class Dict;
class Interpreter;
class Value;
struct Arguments;
struct BoundMethod;
struct Cycler;
struct Iterator;
struct Joiner;
struct Loop;
struct Macro;
struct Namespace;
struct Sequence;

inline constexpr std::size_t value_depth_max = 100;
// Of a value written out in full: a list that holds a list twice counts it twice.
inline constexpr std::size_t value_size_bytes_max = 128 << 20;

// How much walking a value takes.
struct Extent {
    std::size_t depth = 0;        // nesting; 0 for what contains nothing
    std::size_t size_bytes = 16;  // about what it takes written out

    void add(const Extent& inner) {
        depth = depth > inner.depth + 1 ? depth : inner.depth + 1;
        size_bytes += inner.size_bytes;
    }
};

// What a missing name or key yields. It prints as nothing; `message` is what using it further says.
struct Undefined {
    std::shared_ptr<const std::string> message;
};
struct None {};

// A function of the language itself, e.g. range.
struct Function {
    std::string_view name;
    Result<Value> (*call)(Interpreter&, const Arguments&) = nullptr;
};

enum class Type {
    undefined,
    none,
    boolean,
    integer,
    real,
    string,
    sequence,
    iterator,
    dict,
    name_space,
    loop,
    macro,
    cycler,
    joiner,
    method,
    function,
};

class Value {
  public:
    using List = std::vector<Value>;

    Value() = default;  // undefined
    Value(Undefined undefined) : data_(std::move(undefined)) {}
    Value(None none) : data_(none) {}
    Value(bool boolean) : data_(boolean) {}
    Value(std::int64_t integer) : data_(integer) {}
    Value(double real) : data_(real) {}
    Value(std::string text) : data_(std::make_shared<const std::string>(std::move(text))) {}
    Value(const char*) = delete;  // would silently become a boolean
    Value(std::shared_ptr<const Sequence> sequence) : data_(std::move(sequence)) {}
    Value(std::shared_ptr<Iterator> iterator) : data_(std::move(iterator)) {}
    Value(std::shared_ptr<const Dict> dict) : data_(std::move(dict)) {}
    Value(Namespace* name_space) : data_(name_space) {}
    Value(std::shared_ptr<Loop> loop) : data_(std::move(loop)) {}
    Value(const Macro* macro) : data_(macro) {}
    Value(std::shared_ptr<Cycler> cycler) : data_(std::move(cycler)) {}
    Value(std::shared_ptr<Joiner> joiner) : data_(std::move(joiner)) {}
    Value(std::shared_ptr<const BoundMethod> method) : data_(std::move(method)) {}
    Value(Function function) : data_(function) {}

    [[nodiscard]] Type type() const { return static_cast<Type>(data_.index()); }
    [[nodiscard]] bool is(Type wanted) const { return type() == wanted; }
    [[nodiscard]] bool is_number() const;  // booleans are numbers, as in Python

    // The content of a value whose type() was asked before.
    [[nodiscard]] const Undefined& undefined() const { return std::get<Undefined>(data_); }
    [[nodiscard]] bool boolean() const { return std::get<bool>(data_); }
    [[nodiscard]] std::int64_t integer() const;  // of a boolean too
    [[nodiscard]] double real() const;           // of any number
    [[nodiscard]] const std::string& string() const { return **std::get_if<String>(&data_); }
    [[nodiscard]] const Sequence& sequence() const { return **std::get_if<SequenceRef>(&data_); }
    [[nodiscard]] Iterator& iterator() const { return *std::get<std::shared_ptr<Iterator>>(data_); }
    [[nodiscard]] const Dict& dict() const { return **std::get_if<DictRef>(&data_); }
    [[nodiscard]] Namespace& name_space() const { return *std::get<Namespace*>(data_); }
    [[nodiscard]] Loop& loop() const { return *std::get<std::shared_ptr<Loop>>(data_); }
    [[nodiscard]] const Macro& macro() const { return *std::get<const Macro*>(data_); }
    [[nodiscard]] Cycler& cycler() const { return *std::get<std::shared_ptr<Cycler>>(data_); }
    [[nodiscard]] Joiner& joiner() const { return *std::get<std::shared_ptr<Joiner>>(data_); }
    [[nodiscard]] const BoundMethod& method() const { return **std::get_if<MethodRef>(&data_); }
    [[nodiscard]] const Function& function() const { return std::get<Function>(data_); }

    [[nodiscard]] Extent extent() const;

    // Text that the filter safe or escape marked as HTML: `+` escapes what is added to it. Nothing
    // else keeps the mark.
    [[nodiscard]] bool is_markup() const { return markup_; }
    [[nodiscard]] Value as_markup() const {
        Value marked = *this;
        marked.markup_ = true;
        return marked;
    }

    [[nodiscard]] bool truth() const;
    [[nodiscard]] bool same_object(const Value& other) const;  // Python's `is`

  private:
    using String = std::shared_ptr<const std::string>;
    using SequenceRef = std::shared_ptr<const Sequence>;
    using DictRef = std::shared_ptr<const Dict>;
    using MethodRef = std::shared_ptr<const BoundMethod>;
    std::variant<Undefined, None, bool, std::int64_t, double, String, SequenceRef,
                 std::shared_ptr<Iterator>, DictRef, Namespace*, std::shared_ptr<Loop>,
                 const Macro*, std::shared_ptr<Cycler>, std::shared_ptr<Joiner>, MethodRef,
                 Function>
        data_;
    bool markup_ = false;
};

using List = Value::List;

enum class SequenceKind { list, tuple, range, dict_keys, dict_values, dict_items };

struct Sequence {
    SequenceKind kind = SequenceKind::list;
    List items;
    Extent extent = {};
    // Of a range: as it was asked for.
    struct Range {
        std::int64_t start = 0;
        std::int64_t stop = 0;
        std::int64_t step = 1;
    };
    Range range = {};
};

// Python's generators: consumed once, no length, always true. What failed while one was made is
// told only to who consumes it that far.
struct Iterator {
    List items;
    std::size_t next = 0;
    Extent extent = {};
    std::optional<Error> error = std::nullopt;
};

// Insertion-ordered, keys unique by Python's equality (1, 1.0 and true are one key).
class Dict {
  public:
    using Entry = std::pair<Value, Value>;

    [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
    [[nodiscard]] const Value* find(const Value& key) const;
    [[nodiscard]] const Value* find(std::string_view key) const;
    // False where the key cannot be one (a list, a dictionary).
    [[nodiscard]] bool set(Value key, Value value);
    [[nodiscard]] const Extent& extent() const { return extent_; }

  private:
    [[nodiscard]] std::size_t position(const Value& key, std::size_t hash) const;

    std::vector<Entry> entries_;
    std::unordered_multimap<std::size_t, std::size_t>
        positions_;  // empty while there are few entries
    Extent extent_ = {.depth = 1};
};

struct Namespace {
    Dict attributes;
};

struct Cycler {
    List items;
    std::size_t position = 0;
    Extent extent = {};
};

struct Joiner {
    std::string separator;
    bool used = false;
};

// `"a".upper` before it is called.
struct BoundMethod {
    Value self;
    std::string name;
};

struct Arguments {
    List positional;
    std::vector<std::pair<std::string, Value>> named;
};

// Makers that enforce the limits above.
[[nodiscard]] Result<Extent> extent_of(const List& items);
[[nodiscard]] Result<Value> make_sequence(SequenceKind kind, List items);
[[nodiscard]] Result<Value> make_list(List items);
[[nodiscard]] Result<Value> make_tuple(List items);
[[nodiscard]] Result<Value> make_iterator(List items, Result<> made = {});
[[nodiscard]] Result<Value> make_dict(Dict dict);
[[nodiscard]] Value make_undefined(std::string message);

[[nodiscard]] bool equal(const Value& left, const Value& right);
// Negative, 0 or positive; an error where Python would refuse to order the two. NaN orders as
// equal.
[[nodiscard]] Result<int> compare(const Value& left, const Value& right);

[[nodiscard]] std::string to_text(const Value& value);  // str()
[[nodiscard]] std::string to_repr(const Value& value);  // repr()
void append_text(const Value& value, std::string& output);
void append_repr(const Value& value, std::string& output);
[[nodiscard]] std::string real_text(double value);  // the shortest text that reads back the same
[[nodiscard]] std::string type_name(const Value& value);  // for messages: "string", "list", ...

}  // namespace exomesh::model::jinja
