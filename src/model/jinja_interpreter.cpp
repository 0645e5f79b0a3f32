#include "model/jinja_interpreter.h"

#include <algorithm>
#include <utility>

#include "model/jinja_functions.h"
#include "model/jinja_json.h"
#include "model/jinja_methods.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

std::unexpected<Error> run_time_error(std::string message) {
    return fail(ErrorCode::invalid_argument, std::move(message));
}

std::unexpected<Error> undefined_error(const Value& value) {
    const auto& message = value.undefined().message;
    return run_time_error(message != nullptr ? *message : "the value is undefined");
}

Value* Scope::find(NameId name) {
    for (auto& [id, value] : variables) {
        if (id == name) return &value;
    }
    return nullptr;
}

void Scope::set(NameId name, Value value) {
    if (Value* existing = find(name)) {
        *existing = std::move(value);
    } else {
        variables.emplace_back(name, std::move(value));
    }
}

Interpreter::Interpreter(const Template& program, const Limits& limits, std::int64_t now_s)
    : program_(program), limits_(limits), now_s_(now_s), scope_(std::make_shared<Scope>()) {}

Result<std::string> Interpreter::render(const Json& variables) {
    // Only what the template names is converted.
    for (const auto& [name, json] : variables.items()) {
        if (const std::optional<NameId> id = program_.find_name(name)) {
            EXO_TRY_ASSIGN(Value value, from_json(json));
            scope_->set(*id, std::move(value));
        }
    }
    std::string output;
    output_ = &output;
    const Executed done = execute(program_.body);
    if (done) return output;
    Error error = done.error();
    error.message =
        "chat template, line " + std::to_string(std::max(error_line_, 1U)) + ": " + error.message;
    return std::unexpected(std::move(error));
}

Result<> Interpreter::charge(std::uint64_t step_count) {
    step_count_ += step_count;
    if (step_count_ <= limits_.step_count_max) return {};
    return fail(
        ErrorCode::resource_exhausted,
        "the template takes more than " + std::to_string(limits_.step_count_max) + " steps");
}

Result<> Interpreter::charge_bytes(std::size_t size_bytes) {
    return charge(1 + size_bytes / bytes_per_step);
}

Result<> Interpreter::charge_search(std::string_view text, std::string_view wanted) {
    EXO_TRY(charge_bytes(text.size() + wanted.size()));
    if (wanted.size() > text.size()) return {};
    const std::uint64_t place_count = text.size() - wanted.size() + 1;
    return charge(place_count * wanted.size() / compared_bytes_per_step);
}

Result<> Interpreter::charge_text(std::size_t size_bytes, std::size_t added_bytes) {
    if (size_bytes + added_bytes > limits_.output_bytes_max) {
        return fail(ErrorCode::resource_exhausted, "the template makes a text above " +
                                                       std::to_string(limits_.output_bytes_max) +
                                                       " bytes");
    }
    return charge_bytes(added_bytes);
}

Result<> Interpreter::append(std::string_view part, std::string& text) {
    EXO_TRY(charge_text(text.size(), part.size()));
    text += part;
    return {};
}

Result<Value> Interpreter::make_string(std::string text) {
    EXO_TRY(charge_text(0, text.size()));
    return Value(std::move(text));
}

Result<std::string> Interpreter::text_of(const Value& value) {
    EXO_TRY(charge_bytes(value.extent().size_bytes));
    return to_text(value);
}

Result<> Interpreter::enter() {
    if (++depth_ <= limits_.depth_max) return charge(1);
    return fail(ErrorCode::resource_exhausted, "the template calls itself too deeply");
}

Result<List> Interpreter::items_of(const Value& value) {
    switch (value.type()) {
        case Type::undefined:
            return List{};
        case Type::string: {
            EXO_TRY(charge(1 + value.string().size()));
            List items;
            for (const std::string_view point : code_points(value.string())) {
                items.emplace_back(std::string(point));
            }
            return items;
        }
        case Type::sequence:
            EXO_TRY(charge(1 + value.sequence().items.size()));
            return value.sequence().items;
        case Type::iterator: {
            Iterator& iterator = value.iterator();
            List items(iterator.items.begin() + static_cast<std::ptrdiff_t>(iterator.next),
                       iterator.items.end());
            iterator.next = iterator.items.size();
            EXO_TRY(charge(1 + items.size()));
            if (iterator.error) return std::unexpected(*iterator.error);
            return items;
        }
        case Type::dict: {
            EXO_TRY(charge(1 + value.dict().entries().size()));
            List keys;
            for (const Dict::Entry& entry : value.dict().entries()) keys.push_back(entry.first);
            return keys;
        }
        case Type::none:
        case Type::boolean:
        case Type::integer:
        case Type::real:
        case Type::name_space:
        case Type::loop:
        case Type::macro:
        case Type::cycler:
        case Type::joiner:
        case Type::method:
        case Type::function:
            break;
    }
    return run_time_error("cannot go through a value of type " + type_name(value));
}

Value Interpreter::make_namespace(Dict attributes) {
    return &namespaces_.emplace_back(std::move(attributes));
}

const Macro* Interpreter::make_macro(std::shared_ptr<const MacroDefinition> definition) {
    return &macros_.emplace_back(std::move(definition), scope_);
}

Result<> Interpreter::emit(std::string_view text) {
    if (output_->size() + text.size() > limits_.output_bytes_max) {
        return fail(
            ErrorCode::resource_exhausted,
            "the template prints more than " + std::to_string(limits_.output_bytes_max) + " bytes");
    }
    EXO_TRY(charge_bytes(text.size()));
    output_->append(text);
    return {};
}

Result<> Interpreter::assign(const Target& target, Value value) {
    if (target.is_tuple) {
        EXO_TRY_ASSIGN(List items, items_of(value));
        if (items.size() != target.parts.size()) {
            return run_time_error("cannot unpack " + std::to_string(items.size()) +
                                  " values into " + std::to_string(target.parts.size()) + " names");
        }
        for (std::size_t i = 0; i < items.size(); ++i) {
            EXO_TRY(assign(target.parts[i], std::move(items[i])));
        }
        return {};
    }
    if (target.attribute.empty()) {
        EXO_TRY(charge(1 + scope_->variables.size() / bytes_per_step));
        scope_->set(target.name, std::move(value));
        return {};
    }
    EXO_TRY_ASSIGN(const Value owner, evaluate_node(Name{target.name}));
    if (!owner.is(Type::name_space)) {
        return run_time_error(
            "only a namespace's attributes can be set, not those of a value of type " +
            type_name(owner));
    }
    EXO_TRY(charge(4));
    (void)owner.name_space().attributes.set(Value(target.attribute), std::move(value));
    return {};
}

template <typename Work>
Result<std::string> Interpreter::capture(Work work) {
    std::string text;
    std::string* const outer = std::exchange(output_, &text);
    const Executed done = work();
    output_ = outer;
    if (!done) return std::unexpected(done.error());
    return text;
}

// --- statements ---

Interpreter::Executed Interpreter::execute(const Body& body) {
    EXO_TRY(enter());
    for (const Statement& statement : body) {
        EXO_TRY(charge(1));
        const Executed done =
            std::visit([&](const auto& node) { return execute_node(node); }, statement.node);
        if (!done && error_line_ == 0) error_line_ = statement.line;
        if (!done || *done != Flow::normal) {
            leave();
            return done;
        }
    }
    leave();
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_in(std::shared_ptr<Scope> scope, const Body& body) {
    std::shared_ptr<Scope> outer = std::exchange(scope_, std::move(scope));
    Executed done = execute(body);
    scope_ = std::move(outer);
    return done;
}

Interpreter::Executed Interpreter::execute_node(const Text& node) {
    EXO_TRY(emit(node.text));
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const Output& node) {
    for (const ExpressionRef& expression : node.expressions) {
        EXO_TRY_ASSIGN(const Value value, evaluate(*expression));
        if (value.is(Type::string)) {
            EXO_TRY(emit(value.string()));
        } else {
            EXO_TRY_ASSIGN(const std::string text, text_of(value));
            EXO_TRY(emit(text));
        }
    }
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const If& node) {
    for (const auto& [condition, body] : node.branches) {
        EXO_TRY_ASSIGN(const Value value, evaluate(*condition));
        if (value.truth()) return execute(body);
    }
    return execute(node.otherwise);
}

Interpreter::Executed Interpreter::execute_node(const For& node) {
    EXO_TRY_ASSIGN(const Value iterable, evaluate(*node.iterable));
    return start_loop(node, scope_, iterable, 0);
}

Interpreter::Executed Interpreter::start_loop(const For& node, std::shared_ptr<Scope> scope,
                                              const Value& iterable, std::int64_t nesting) {
    const auto loop = std::make_shared<Loop>();
    EXO_TRY_ASSIGN(loop->items, items_of(iterable));
    loop->statement = &node;
    loop->scope = std::move(scope);
    loop->nesting = nesting;
    std::shared_ptr<Scope> outer = std::exchange(scope_, loop->scope);
    Executed done = run_loop(*loop, loop);
    scope_ = std::move(outer);
    // A loop a template kept holds nothing once it has run: it could hold itself.
    loop->items.clear();
    loop->next = 0;
    loop->ahead.reset();
    loop->previous.reset();
    loop->changed.reset();
    loop->current = Value();
    loop->scope.reset();
    return done;
}

Interpreter::Executed Interpreter::run_loop(Loop& loop, const std::shared_ptr<Loop>& shared) {
    const For& node = *loop.statement;
    // As in Jinja2, `else` runs unless an iteration came to its end: after a `break` in the first
    // too.
    bool any_completed = false;
    while (true) {
        EXO_TRY_ASSIGN(std::optional<Value> item, peek(loop));
        if (!item) break;
        loop.ahead.reset();
        if (++loop.index0 > 0) loop.previous = std::move(loop.current);
        loop.current = *item;
        auto scope = std::make_shared<Scope>(loop.scope);
        scope->set(program_.loop, shared);
        std::shared_ptr<Scope> outer = std::exchange(scope_, scope);
        Executed done = Flow::normal;
        if (Result<> assigned = assign(node.target, *std::move(item)); !assigned) {
            done = std::unexpected(std::move(assigned).error());
        } else {
            done = execute(node.body);
        }
        scope_ = std::move(outer);
        if (!done) return done;
        any_completed = any_completed || *done == Flow::normal;
        if (*done == Flow::break_loop) break;
    }
    if (any_completed) return Flow::normal;
    return execute_in(std::make_shared<Scope>(loop.scope), node.otherwise);
}

// The next item that passes the loop's condition. Conditions run no earlier than Jinja2 runs them:
// a body may change what they see.
Result<std::optional<Value>> Interpreter::pull(Loop& loop) {
    const For& node = *loop.statement;
    while (loop.next < loop.items.size()) {
        Value item = loop.items[loop.next++];
        EXO_TRY(charge(1));
        if (node.condition == nullptr || loop.settled) return item;
        std::shared_ptr<Scope> outer = std::exchange(scope_, std::make_shared<Scope>(loop.scope));
        Evaluated passes = make_undefined("`loop` cannot be used in the condition of its own for");
        scope_->set(program_.loop, *passes);
        if (Result<> assigned = assign(node.target, item); !assigned) {
            passes = std::unexpected(std::move(assigned).error());
        } else {
            passes = evaluate(*node.condition);
        }
        scope_ = std::move(outer);
        if (!passes) return std::unexpected(std::move(passes).error());
        if (passes->truth()) return item;
    }
    return std::nullopt;
}

Result<std::optional<Value>> Interpreter::peek(Loop& loop) {
    if (!loop.ahead && loop.scope != nullptr) {
        EXO_TRY_ASSIGN(loop.ahead, pull(loop));
    }
    return loop.ahead;
}

Result<std::int64_t> Interpreter::length(Loop& loop) {
    if (loop.statement->condition != nullptr && !loop.settled) {
        List rest;
        while (true) {
            EXO_TRY_ASSIGN(std::optional<Value> item, peek(loop));
            if (!item) break;
            rest.push_back(*std::move(item));
            loop.ahead.reset();
        }
        loop.items = std::move(rest);
        loop.next = 0;
        loop.settled = true;
    }
    const std::size_t to_come = loop.items.size() - loop.next + (loop.ahead ? 1 : 0);
    return loop.index0 + 1 + static_cast<std::int64_t>(to_come);
}

Interpreter::Executed Interpreter::execute_node(const Set& node) {
    EXO_TRY_ASSIGN(Value value, evaluate(*node.value));
    EXO_TRY(assign(node.target, std::move(value)));
    return Flow::normal;
}

Interpreter::Evaluated Interpreter::filter_block(const Expression* filter, std::string text) {
    EXO_TRY_ASSIGN(Value value, make_string(std::move(text)));
    if (filter == nullptr) return value;
    Value outer = std::exchange(filter_input_, std::move(value));
    Evaluated result = evaluate(*filter);
    filter_input_ = std::move(outer);
    return result;
}

Interpreter::Executed Interpreter::execute_node(const SetBlock& node) {
    EXO_TRY_ASSIGN(std::string text,
                   capture([&] { return execute_in(std::make_shared<Scope>(scope_), node.body); }));
    EXO_TRY_ASSIGN(Value value, filter_block(node.filter.get(), std::move(text)));
    EXO_TRY(assign(node.target, std::move(value)));
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const FilterBlock& node) {
    EXO_TRY_ASSIGN(std::string text,
                   capture([&] { return execute_in(std::make_shared<Scope>(scope_), node.body); }));
    EXO_TRY_ASSIGN(const Value value, filter_block(node.filter.get(), std::move(text)));
    EXO_TRY_ASSIGN(const std::string printed, text_of(value));
    EXO_TRY(emit(printed));
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const MacroStatement& node) {
    EXO_TRY(charge(bytes_per_step));
    scope_->set(node.name, make_macro(node.definition));
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const CallBlock& node) {
    EXO_TRY(charge(bytes_per_step));
    const Call& call = std::get<Call>(node.call->node);
    EXO_TRY_ASSIGN(Arguments arguments, evaluate_arguments(call.arguments));
    arguments.named.emplace_back("caller", make_macro(node.caller));
    EXO_TRY_ASSIGN(const Value value, evaluate_call(call, arguments));
    EXO_TRY_ASSIGN(const std::string printed, text_of(value));
    EXO_TRY(emit(printed));
    return Flow::normal;
}

Interpreter::Executed Interpreter::execute_node(const With& node) {
    auto scope = std::make_shared<Scope>(scope_);
    for (const auto& [target, expression] : node.assignments) {
        EXO_TRY_ASSIGN(Value value, evaluate(*expression));
        std::shared_ptr<Scope> outer = std::exchange(scope_, scope);
        Result<> assigned = assign(target, std::move(value));
        scope_ = std::move(outer);
        EXO_TRY(std::move(assigned));
    }
    return execute_in(std::move(scope), node.body);
}

Interpreter::Executed Interpreter::execute_node(const Generation& node) {
    return execute_in(std::make_shared<Scope>(scope_), node.body);
}

Interpreter::Executed Interpreter::execute_node(const Break&) {
    return Flow::break_loop;
}
Interpreter::Executed Interpreter::execute_node(const Continue&) {
    return Flow::continue_loop;
}

// --- calls ---

Result<Value> Interpreter::call(const Value& callee, const Arguments& arguments) {
    switch (callee.type()) {
        case Type::undefined:
            return undefined_error(callee);
        case Type::macro:
            return call_macro(callee.macro(), arguments);
        case Type::loop:
            return call_loop(callee.loop(), arguments);
        case Type::function:
            return callee.function().call(*this, arguments);
        case Type::method: {
            const BoundMethod& method = callee.method();
            return find_method(method.self, method.name)(*this, method.self, arguments);
        }
        case Type::joiner: {
            Joiner& joiner = callee.joiner();
            const bool first = !std::exchange(joiner.used, true);
            return make_string(first ? std::string() : joiner.separator);
        }
        case Type::none:
        case Type::boolean:
        case Type::integer:
        case Type::real:
        case Type::string:
        case Type::sequence:
        case Type::iterator:
        case Type::dict:
        case Type::name_space:
        case Type::cycler:
            break;
    }
    return run_time_error("a value of type " + type_name(callee) + " cannot be called");
}

Interpreter::Evaluated Interpreter::call_macro(const Macro& macro, const Arguments& arguments) {
    EXO_TRY(enter());
    auto scope = std::make_shared<Scope>(macro.scope);
    const MacroDefinition& definition = *macro.definition;
    std::shared_ptr<Scope> outer = std::exchange(scope_, scope);
    Result<std::string> text = capture([&]() -> Executed {
        EXO_TRY(bind_parameters(definition, arguments, *scope));
        return execute(definition.body);
    });
    scope_ = std::move(outer);
    leave();
    if (!text) return std::unexpected(std::move(text).error());
    return make_string(*std::move(text));
}

Result<> Interpreter::bind_parameters(const MacroDefinition& macro, const Arguments& arguments,
                                      Scope& scope) {
    const auto& parameters = macro.parameters;
    std::vector<bool> named_used(arguments.named.size());
    const auto take_named = [&](std::string_view name) -> const Value* {
        for (std::size_t i = 0; i < arguments.named.size(); ++i) {
            if (arguments.named[i].first != name) continue;
            named_used[i] = true;
            return &arguments.named[i].second;
        }
        return nullptr;
    };
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = program_.names[parameters[i].name];
        EXO_TRY(charge((name.size() + macro.name.size()) / bytes_per_step));
        if (i < arguments.positional.size()) {
            scope.set(parameters[i].name, arguments.positional[i]);
        } else if (const Value* named = take_named(name)) {
            scope.set(parameters[i].name, *named);
        } else if (parameters[i].default_value != nullptr) {
            EXO_TRY_ASSIGN(Value value, evaluate(*parameters[i].default_value));
            scope.set(parameters[i].name, std::move(value));
        } else {
            scope.set(parameters[i].name,
                      make_undefined("the parameter `" + name + "` of the macro `" + macro.name +
                                     "` was not provided"));
        }
    }
    if (macro.uses_caller && scope.find(program_.caller) == nullptr) {
        const Value* caller = take_named("caller");
        scope.set(program_.caller,
                  caller != nullptr ? *caller : make_undefined("no caller defined"));
    }
    Dict rest;
    for (std::size_t i = 0; i < arguments.named.size(); ++i) {
        if (named_used[i]) continue;
        const auto& [name, value] = arguments.named[i];
        if (!macro.uses_kwargs || name == "caller") {
            return run_time_error("the macro `" + macro.name + "` takes no argument `" + name +
                                  "`");
        }
        (void)rest.set(Value(name), value);
    }
    if (macro.uses_kwargs) {
        EXO_TRY_ASSIGN(Value kwargs, make_dict(std::move(rest)));
        scope.set(program_.kwargs, std::move(kwargs));
    }
    if (macro.uses_varargs) {
        List varargs;
        for (std::size_t i = parameters.size(); i < arguments.positional.size(); ++i) {
            varargs.push_back(arguments.positional[i]);
        }
        EXO_TRY_ASSIGN(Value tuple, make_tuple(std::move(varargs)));
        scope.set(program_.varargs, std::move(tuple));
    } else if (arguments.positional.size() > parameters.size()) {
        return run_time_error("the macro `" + macro.name + "` takes at most " +
                              std::to_string(parameters.size()) + " arguments");
    }
    return {};
}

Interpreter::Evaluated Interpreter::call_loop(Loop& loop, const Arguments& arguments) {
    if (arguments.positional.size() != 1 || !arguments.named.empty() ||
        !loop.statement->recursive || loop.scope == nullptr) {
        return run_time_error("`loop(items)` works only in a `for` marked recursive");
    }
    EXO_TRY(enter());
    Result<std::string> text = capture([&] {
        return start_loop(*loop.statement, loop.scope, arguments.positional[0], loop.nesting + 1);
    });
    leave();
    if (!text) return std::unexpected(std::move(text).error());
    return make_string(*std::move(text));
}

}  // namespace exomesh::model::jinja
