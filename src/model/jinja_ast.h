// The syntax tree of a template.
//
// A tree is immutable and may be rendered by many threads at once. Chains of operators of one rank
// are flat lists, and every node knows its depth, which the parser limits: walking a tree cannot
// exhaust the stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "model/jinja_value.h"

namespace exomesh::model::jinja {

struct Expression;
struct Statement;
using ExpressionRef = std::unique_ptr<const Expression>;
using ExpressionList = std::vector<ExpressionRef>;
using Body = std::vector<Statement>;

// Names are numbered by the parser; the number indexes Template::names.
using NameId = std::uint32_t;

using FilterFunction = Result<Value> (*)(Interpreter&, const Value&, const Arguments&);
using TestFunction = Result<bool> (*)(Interpreter&, const Value&, const Arguments&);

struct CallArguments {
    ExpressionList positional;
    std::vector<std::pair<std::string, ExpressionRef>> named;
    ExpressionRef positional_rest;  // *rest, or null
    ExpressionRef named_rest;       // **rest, or null
};

struct Literal {
    Value value;
};
struct Name {
    NameId id;
};
enum class UnaryOperator { negate, plus, logical_not };
struct Unary {
    UnaryOperator operation;
    ExpressionRef operand;
};
enum class BinaryOperator { add, subtract, multiply, divide, floor_divide, modulo, power };
struct Arithmetic {  // left to right
    ExpressionRef first;
    std::vector<std::pair<BinaryOperator, ExpressionRef>> rest;
};
enum class Comparison { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
struct Compare {  // a < b < c means a < b and b < c
    ExpressionRef first;
    std::vector<std::pair<Comparison, ExpressionRef>> rest;
};
enum class LogicalOperator { logical_and, logical_or };
struct Logical {
    LogicalOperator operation;
    ExpressionList operands;
};
struct Concatenation {  // ~
    ExpressionList operands;
};
struct Conditional {
    ExpressionRef condition;
    ExpressionRef then;
    ExpressionRef otherwise;  // or null
};
struct Attribute {
    ExpressionRef base;
    std::string name;
};
struct Item {
    ExpressionRef base;
    ExpressionRef index;
};
struct Slice {
    ExpressionRef base;
    ExpressionRef start;  // each may be null
    ExpressionRef stop;
    ExpressionRef step;
};
struct Call {
    ExpressionRef callee;
    CallArguments arguments;
};
struct Filter {
    ExpressionRef input;  // null: what the enclosing block printed
    std::string name;
    FilterFunction function;  // null where there is none of this name
    CallArguments arguments;
};
struct Test {
    ExpressionRef input;
    std::string name;
    TestFunction function;  // null where there is none of this name
    CallArguments arguments;
};
struct ListDisplay {
    SequenceKind kind;
    ExpressionList items;
};
struct DictDisplay {
    std::vector<std::pair<ExpressionRef, ExpressionRef>> entries;
};

struct Expression {
    std::variant<Literal, Name, Unary, Arithmetic, Compare, Logical, Concatenation, Conditional,
                 Attribute, Item, Slice, Call, Filter, Test, ListDisplay, DictDisplay>
        node;
    std::uint32_t line = 1;
    std::size_t depth = 1;
};

// What `set` and `for` assign to: a name, an attribute of a namespace, or several of these.
struct Target {
    NameId name = 0;
    std::string attribute = {};      // of the namespace `name`; empty: the name itself
    std::vector<Target> parts = {};  // unpacking where is_tuple
    bool is_tuple = false;
};

struct Parameter {
    NameId name;
    ExpressionRef default_value;  // or null
};

// A macro, or the body of a call block.
struct MacroDefinition {
    std::string name;
    std::vector<Parameter> parameters;
    Body body;
    // Whether the body mentions these special names; only then a call may pass what fills them.
    bool uses_varargs = false;
    bool uses_kwargs = false;
    bool uses_caller = false;
};

struct Text {
    std::string text;
};
struct Output {
    ExpressionList expressions;
};
struct If {
    std::vector<std::pair<ExpressionRef, Body>> branches;
    Body otherwise;
};
struct For {
    Target target;
    ExpressionRef iterable;
    ExpressionRef condition;  // or null
    Body body;
    Body otherwise;
    bool recursive = false;
};
struct Set {
    Target target;
    ExpressionRef value;
};
struct SetBlock {
    Target target;
    ExpressionRef filter;  // or null
    Body body;
};
struct FilterBlock {
    ExpressionRef filter;
    Body body;
};
struct MacroStatement {
    NameId name;
    std::shared_ptr<const MacroDefinition> definition;
};
struct CallBlock {
    ExpressionRef call;
    std::shared_ptr<const MacroDefinition> caller;
};
struct With {
    std::vector<std::pair<Target, ExpressionRef>> assignments;
    Body body;
};
struct Generation {  // marks what the model wrote, for training; prints its body
    Body body;
};
struct Break {};
struct Continue {};

struct Statement {
    std::variant<Text, Output, If, For, Set, SetBlock, FilterBlock, MacroStatement, CallBlock, With,
                 Generation, Break, Continue>
        node;
    std::uint32_t line = 1;
};

struct Template {
    Body body;
    std::vector<std::string> names;
    // The language's own names, bound by the parser so that the interpreter need not look them up.
    NameId loop = 0;
    NameId caller = 0;
    NameId varargs = 0;
    NameId kwargs = 0;

    [[nodiscard]] std::optional<NameId> find_name(std::string_view name) const;
};

}  // namespace exomesh::model::jinja
