// The half of the Interpreter that evaluates expressions.
#include <algorithm>
#include <utility>

#include "model/jinja_functions.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_methods.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

Interpreter::Evaluated Interpreter::evaluate(const Expression& expression) {
    EXO_TRY(enter());
    Evaluated result =
        std::visit([&](const auto& node) { return evaluate_node(node); }, expression.node);
    leave();
    if (!result && error_line_ == 0) error_line_ = expression.line;
    return result;
}

Interpreter::Evaluated Interpreter::evaluate_node(const Literal& node) {
    return node.value;
}

Interpreter::Evaluated Interpreter::evaluate_node(const Name& node) {
    for (Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
        EXO_TRY(charge(scope->variables.size() / bytes_per_step));
        if (const Value* value = scope->find(node.id)) return *value;
    }
    const std::string& name = program_.names[node.id];
    if (const std::optional<Function> function = find_function(name)) return Value(*function);
    EXO_TRY(charge(name.size() / bytes_per_step));
    return make_undefined("`" + name + "` is undefined");
}

Interpreter::Evaluated Interpreter::evaluate_node(const Unary& node) {
    EXO_TRY_ASSIGN(const Value operand, evaluate(*node.operand));
    if (node.operation == UnaryOperator::logical_not) return Value(!operand.truth());
    if (operand.is(Type::undefined)) return undefined_error(operand);
    if (!operand.is_number()) {
        return run_time_error("a value of type " + type_name(operand) + " has no sign");
    }
    if (operand.is(Type::real)) {
        return Value(node.operation == UnaryOperator::negate ? -operand.real() : operand.real());
    }
    if (node.operation == UnaryOperator::plus) return Value(operand.integer());
    return arithmetic(*this, BinaryOperator::subtract, Value(std::int64_t{0}), operand);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Arithmetic& node) {
    EXO_TRY_ASSIGN(Value result, evaluate(*node.first));
    for (const auto& [operation, expression] : node.rest) {
        EXO_TRY_ASSIGN(const Value operand, evaluate(*expression));
        EXO_TRY_ASSIGN(result, arithmetic(*this, operation, result, operand));
    }
    return result;
}

Interpreter::Evaluated Interpreter::evaluate_node(const Compare& node) {
    EXO_TRY_ASSIGN(Value left, evaluate(*node.first));
    for (const auto& [comparison, expression] : node.rest) {
        EXO_TRY_ASSIGN(Value right, evaluate(*expression));
        EXO_TRY_ASSIGN(const bool holds, compare(*this, comparison, left, right));
        if (!holds) return Value(false);
        left = std::move(right);
    }
    return Value(true);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Logical& node) {
    const bool decides = node.operation == LogicalOperator::logical_or;
    Value value;
    for (const ExpressionRef& operand : node.operands) {
        EXO_TRY_ASSIGN(value, evaluate(*operand));
        if (value.truth() == decides) break;
    }
    return value;
}

Interpreter::Evaluated Interpreter::evaluate_node(const Concatenation& node) {
    std::string text;
    for (const ExpressionRef& operand : node.operands) {
        EXO_TRY_ASSIGN(const Value value, evaluate(*operand));
        EXO_TRY(charge_bytes(value.extent().size_bytes));
        append_text(value, text);
    }
    return make_string(std::move(text));
}

Interpreter::Evaluated Interpreter::evaluate_node(const Conditional& node) {
    EXO_TRY_ASSIGN(const Value condition, evaluate(*node.condition));
    if (condition.truth()) return evaluate(*node.then);
    if (node.otherwise != nullptr) return evaluate(*node.otherwise);
    return make_undefined("the inline `if` was false and has no `else`");
}

Interpreter::Evaluated Interpreter::evaluate_node(const Attribute& node) {
    EXO_TRY_ASSIGN(const Value base, evaluate(*node.base));
    return attribute(base, node.name);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Item& node) {
    EXO_TRY_ASSIGN(const Value base, evaluate(*node.base));
    EXO_TRY_ASSIGN(const Value index, evaluate(*node.index));
    return item(base, index);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Slice& node) {
    EXO_TRY_ASSIGN(const Value base, evaluate(*node.base));
    Value bounds[3] = {None{}, None{}, None{}};
    const ExpressionRef* expressions[3] = {&node.start, &node.stop, &node.step};
    for (std::size_t i = 0; i < 3; ++i) {
        if (*expressions[i] == nullptr) continue;
        EXO_TRY_ASSIGN(bounds[i], evaluate(**expressions[i]));
    }
    return slice(*this, base, bounds[0], bounds[1], bounds[2]);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Call& node) {
    EXO_TRY_ASSIGN(const Arguments arguments, evaluate_arguments(node.arguments));
    return evaluate_call(node, arguments);
}

// A method is called without making a value of it first.
Interpreter::Evaluated Interpreter::evaluate_call(const Call& node, const Arguments& arguments) {
    const auto* attribute_node = std::get_if<Attribute>(&node.callee->node);
    if (attribute_node == nullptr) {
        EXO_TRY_ASSIGN(const Value callee, evaluate(*node.callee));
        return call(callee, arguments);
    }
    EXO_TRY_ASSIGN(const Value base, evaluate(*attribute_node->base));
    if (const MethodFunction method = find_method(base, attribute_node->name)) {
        return method(*this, base, arguments);
    }
    EXO_TRY_ASSIGN(const Value callee, attribute(base, attribute_node->name));
    return call(callee, arguments);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Filter& node) {
    Value input = filter_input_;
    if (node.input != nullptr) {
        EXO_TRY_ASSIGN(input, evaluate(*node.input));
    }
    EXO_TRY_ASSIGN(const Arguments arguments, evaluate_arguments(node.arguments));
    if (node.function == nullptr) return run_time_error("there is no filter `" + node.name + "`");
    return node.function(*this, input, arguments);
}

Interpreter::Evaluated Interpreter::evaluate_node(const Test& node) {
    EXO_TRY_ASSIGN(const Value input, evaluate(*node.input));
    EXO_TRY_ASSIGN(const Arguments arguments, evaluate_arguments(node.arguments));
    if (node.function == nullptr) return run_time_error("there is no test `" + node.name + "`");
    EXO_TRY_ASSIGN(const bool holds, node.function(*this, input, arguments));
    return Value(holds);
}

Interpreter::Evaluated Interpreter::evaluate_node(const ListDisplay& node) {
    List items;
    items.reserve(node.items.size());
    for (const ExpressionRef& expression : node.items) {
        EXO_TRY_ASSIGN(Value value, evaluate(*expression));
        items.push_back(std::move(value));
    }
    EXO_TRY(charge(1 + 2 * items.size()));
    return make_sequence(node.kind, std::move(items));
}

Interpreter::Evaluated Interpreter::evaluate_node(const DictDisplay& node) {
    Dict dict;
    for (const auto& [key_expression, value_expression] : node.entries) {
        EXO_TRY_ASSIGN(Value key, evaluate(*key_expression));
        EXO_TRY_ASSIGN(Value value, evaluate(*value_expression));
        EXO_TRY(charge_bytes(key.extent().size_bytes));
        const std::string key_type = key.is(Type::string) ? std::string() : type_name(key);
        if (!dict.set(std::move(key), std::move(value))) {
            return run_time_error("a value of type " + key_type + " cannot be a dictionary's key");
        }
    }
    EXO_TRY(charge(1 + 8 * node.entries.size()));
    return make_dict(std::move(dict));
}

Result<Arguments> Interpreter::evaluate_arguments(const CallArguments& expressions) {
    Arguments arguments;
    for (const ExpressionRef& expression : expressions.positional) {
        EXO_TRY_ASSIGN(Value value, evaluate(*expression));
        arguments.positional.push_back(std::move(value));
    }
    for (const auto& [name, expression] : expressions.named) {
        EXO_TRY_ASSIGN(Value value, evaluate(*expression));
        arguments.named.emplace_back(name, std::move(value));
    }
    if (expressions.positional_rest != nullptr) {
        EXO_TRY_ASSIGN(const Value rest, evaluate(*expressions.positional_rest));
        EXO_TRY_ASSIGN(List items, items_of(rest));
        for (Value& item : items) arguments.positional.push_back(std::move(item));
    }
    if (expressions.named_rest != nullptr) {
        EXO_TRY_ASSIGN(const Value rest, evaluate(*expressions.named_rest));
        if (!rest.is(Type::dict)) return run_time_error("the value after ** must be a dictionary");
        EXO_TRY(charge(1 + rest.dict().entries().size()));
        for (const auto& [key, value] : rest.dict().entries()) {
            if (!key.is(Type::string)) return run_time_error("the keys after ** must be strings");
            EXO_TRY(charge_bytes(key.string().size()));
            arguments.named.emplace_back(key.string(), value);
        }
    }
    return arguments;
}

Result<Value> Interpreter::attribute(const Value& base, std::string_view name) {
    if (base.is(Type::undefined)) return undefined_error(base);
    EXO_TRY(charge(name.size() / bytes_per_step));
    EXO_TRY_ASSIGN(std::optional<Value> own, own_attribute(*this, base, name));
    if (own) return *std::move(own);
    if (base.is(Type::dict)) {
        if (const Value* value = base.dict().find(name)) return *value;
    }
    return make_undefined("a value of type " + type_name(base) + " has no attribute `" +
                          std::string(name) + "`");
}

Result<Value> Interpreter::item(const Value& base, const Value& index) {
    if (base.is(Type::undefined)) return undefined_error(base);
    EXO_TRY(charge(index.extent().size_bytes / bytes_per_step));
    if (base.is(Type::dict)) {
        if (const Value* value = base.dict().find(index)) return *value;
    } else if (base.is(Type::string) && (index.is(Type::integer) || index.is(Type::boolean))) {
        const std::string_view text = base.string();
        EXO_TRY(charge_bytes(text.size()));
        std::int64_t at = index.integer();
        if (at < 0) at += static_cast<std::int64_t>(code_point_count(text));
        const std::size_t offset =
            at < 0 ? text.size() : code_point_offset(text, static_cast<std::size_t>(at));
        if (offset < text.size()) {
            return Value(std::string(text.substr(offset, code_point_at(text, offset).size_bytes)));
        }
    } else if (base.is(Type::sequence) && base.sequence().kind <= SequenceKind::range &&
               (index.is(Type::integer) || index.is(Type::boolean))) {
        const List& items = base.sequence().items;
        const auto count = static_cast<std::int64_t>(items.size());
        const std::int64_t at = index.integer() < 0 ? index.integer() + count : index.integer();
        if (at >= 0 && at < count) return items[static_cast<std::size_t>(at)];
    }
    if (index.is(Type::string)) {
        EXO_TRY_ASSIGN(std::optional<Value> own, own_attribute(*this, base, index.string()));
        if (own) return *std::move(own);
    }
    return make_undefined("a value of type " + type_name(base) + " has no item " +
                          (index.extent().size_bytes < 100 ? to_repr(index) : "of this name"));
}

}  // namespace exomesh::model::jinja
