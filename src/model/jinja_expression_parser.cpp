#include "model/jinja_expression_parser.h"

#include <algorithm>
#include <optional>

#include "model/chat_template.h"
#include "model/jinja_filters.h"
#include "model/jinja_tests.h"

namespace exomesh::model::jinja {

namespace {

std::size_t depth_of(const ExpressionRef& expression) {
    return expression == nullptr ? 0 : expression->depth;
}

std::size_t depth_of(const ExpressionList& expressions) {
    std::size_t depth = 0;
    for (const ExpressionRef& expression : expressions)
        depth = std::max(depth, depth_of(expression));
    return depth;
}

template <typename First>
std::size_t depth_of(const std::vector<std::pair<First, ExpressionRef>>& pairs) {
    std::size_t depth = 0;
    for (const auto& pair : pairs) depth = std::max(depth, depth_of(pair.second));
    return depth;
}

std::size_t depth_of(const CallArguments& arguments) {
    return std::max({depth_of(arguments.positional), depth_of(arguments.named),
                     depth_of(arguments.positional_rest), depth_of(arguments.named_rest)});
}

// A node one deeper than the deepest of its children.
template <typename Node>
Result<ExpressionRef> make(std::uint32_t line, std::size_t children_depth, Node node) {
    if (children_depth >= template_depth_max)
        return syntax_error(line, "the expression is too deep");
    return std::make_unique<const Expression>(std::move(node), line, children_depth + 1);
}

}  // namespace

ExpressionParser::ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
    template_.loop = intern("loop");
    template_.caller = intern("caller");
    template_.varargs = intern("varargs");
    template_.kwargs = intern("kwargs");
}

Result<> ExpressionParser::check_depth(std::size_t depth) const {
    if (depth <= template_depth_max) return {};
    return syntax_error(tokens_.line(), "the template is nested more than " +
                                            std::to_string(template_depth_max) + " deep");
}

NameId ExpressionParser::intern(std::string_view name) {
    const auto [it, is_new] =
        name_ids_.try_emplace(std::string(name), static_cast<NameId>(template_.names.size()));
    if (is_new) template_.names.emplace_back(name);
    return it->second;
}

void ExpressionParser::note_special_name(std::string_view name) {
    for (MacroDefinition* macro : enclosing_macros_) {
        macro->uses_varargs = macro->uses_varargs || name == "varargs";
        macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
        macro->uses_caller = macro->uses_caller || name == "caller";
    }
}

bool ExpressionParser::at_tuple_end() const {
    return tokens_.is(TokenKind::expression_end) || tokens_.is(TokenKind::statement_end) ||
           tokens_.is_symbol(")") || tokens_.is_name("recursive");
}

ExpressionParser::Parsed ExpressionParser::parse_tuple(ConditionalAllowed conditional) {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(ExpressionRef first, parse_expression(conditional));
    if (!tokens_.is_symbol(",")) return first;
    ListDisplay tuple{SequenceKind::tuple, {}};
    tuple.items.push_back(std::move(first));
    while (tokens_.skip_symbol(",") && !at_tuple_end()) {
        EXO_TRY_ASSIGN(ExpressionRef item, parse_expression(conditional));
        tuple.items.push_back(std::move(item));
    }
    const std::size_t depth = depth_of(tuple.items);
    return make(line, depth, std::move(tuple));
}

ExpressionParser::Parsed ExpressionParser::parse_expression(ConditionalAllowed conditional) {
    const Level level(depth_);
    EXO_TRY(check_depth(depth_));
    if (conditional == ConditionalAllowed::no) return parse_logical(LogicalOperator::logical_or);
    return parse_conditional();
}

ExpressionParser::Parsed ExpressionParser::parse_conditional() {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(ExpressionRef result, parse_logical(LogicalOperator::logical_or));
    while (tokens_.skip_name("if")) {
        Conditional node{.condition = nullptr, .then = std::move(result), .otherwise = nullptr};
        EXO_TRY_ASSIGN(node.condition, parse_logical(LogicalOperator::logical_or));
        if (tokens_.skip_name("else")) {
            EXO_TRY_ASSIGN(node.otherwise, parse_expression());
        }
        const std::size_t depth =
            std::max({depth_of(node.condition), depth_of(node.then), depth_of(node.otherwise)});
        EXO_TRY_ASSIGN(result, make(line, depth, std::move(node)));
    }
    return result;
}

ExpressionParser::Parsed ExpressionParser::parse_logical(LogicalOperator operation) {
    const bool is_or = operation == LogicalOperator::logical_or;
    const std::uint32_t line = tokens_.line();
    const auto operand = [&] {
        return is_or ? parse_logical(LogicalOperator::logical_and) : parse_not();
    };
    EXO_TRY_ASSIGN(ExpressionRef first, operand());
    if (!tokens_.is_name(is_or ? "or" : "and")) return first;
    Logical node{operation, {}};
    node.operands.push_back(std::move(first));
    while (tokens_.skip_name(is_or ? "or" : "and")) {
        EXO_TRY_ASSIGN(ExpressionRef next, operand());
        node.operands.push_back(std::move(next));
    }
    const std::size_t depth = depth_of(node.operands);
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_not() {
    const std::uint32_t line = tokens_.line();
    if (!tokens_.skip_name("not")) return parse_compare();
    const Level level(depth_);
    EXO_TRY(check_depth(depth_));
    EXO_TRY_ASSIGN(ExpressionRef operand, parse_not());
    const std::size_t depth = depth_of(operand);
    return make(line, depth, Unary{UnaryOperator::logical_not, std::move(operand)});
}

ExpressionParser::Parsed ExpressionParser::parse_compare() {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(ExpressionRef first, parse_sum());
    Compare node{std::move(first), {}};
    const auto comparison = [&]() -> std::optional<Comparison> {
        if (tokens_.skip_symbol("==")) return Comparison::equal;
        if (tokens_.skip_symbol("!=")) return Comparison::not_equal;
        if (tokens_.skip_symbol("<=")) return Comparison::less_equal;
        if (tokens_.skip_symbol("<")) return Comparison::less;
        if (tokens_.skip_symbol(">=")) return Comparison::greater_equal;
        if (tokens_.skip_symbol(">")) return Comparison::greater;
        if (tokens_.skip_name("in")) return Comparison::in;
        const Token& following = tokens_.following();
        if (tokens_.is_name("not") && following.kind == TokenKind::name && following.text == "in") {
            tokens_.next();
            tokens_.next();
            return Comparison::not_in;
        }
        return std::nullopt;
    };
    while (const std::optional<Comparison> operation = comparison()) {
        EXO_TRY_ASSIGN(ExpressionRef operand, parse_sum());
        node.rest.emplace_back(*operation, std::move(operand));
    }
    if (node.rest.empty()) return std::move(node.first);
    const std::size_t depth = std::max(depth_of(node.first), depth_of(node.rest));
    return make(line, depth, std::move(node));
}

template <typename Next>
ExpressionParser::Parsed ExpressionParser::parse_arithmetic(
    Next next, std::initializer_list<std::pair<std::string_view, BinaryOperator>> operators) {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(ExpressionRef first, next());
    Arithmetic node{std::move(first), {}};
    while (true) {
        const auto* found = std::ranges::find_if(
            operators, [&](const auto& entry) { return tokens_.is_symbol(entry.first); });
        if (found == operators.end()) break;
        tokens_.next();
        EXO_TRY_ASSIGN(ExpressionRef operand, next());
        node.rest.emplace_back(found->second, std::move(operand));
    }
    if (node.rest.empty()) return std::move(node.first);
    const std::size_t depth = std::max(depth_of(node.first), depth_of(node.rest));
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_sum() {
    return parse_arithmetic([&] { return parse_concatenation(); },
                            {{"+", BinaryOperator::add}, {"-", BinaryOperator::subtract}});
}

ExpressionParser::Parsed ExpressionParser::parse_concatenation() {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(ExpressionRef first, parse_product());
    if (!tokens_.is_symbol("~")) return first;
    Concatenation node;
    node.operands.push_back(std::move(first));
    while (tokens_.skip_symbol("~")) {
        EXO_TRY_ASSIGN(ExpressionRef operand, parse_product());
        node.operands.push_back(std::move(operand));
    }
    const std::size_t depth = depth_of(node.operands);
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_product() {
    return parse_arithmetic([&] { return parse_power(); }, {{"*", BinaryOperator::multiply},
                                                            {"/", BinaryOperator::divide},
                                                            {"//", BinaryOperator::floor_divide},
                                                            {"%", BinaryOperator::modulo}});
}

ExpressionParser::Parsed ExpressionParser::parse_power() {
    return parse_arithmetic([&] { return parse_unary(FiltersAllowed::yes); },
                            {{"**", BinaryOperator::power}});
}

ExpressionParser::Parsed ExpressionParser::parse_unary(FiltersAllowed filters) {
    const Level level(depth_);
    EXO_TRY(check_depth(depth_));
    const std::uint32_t line = tokens_.line();
    ExpressionRef result;
    if (tokens_.is_symbol("-") || tokens_.is_symbol("+")) {
        const bool negates = tokens_.next().text == "-";
        EXO_TRY_ASSIGN(ExpressionRef operand, parse_unary(FiltersAllowed::no));
        const std::size_t depth = depth_of(operand);
        const UnaryOperator operation = negates ? UnaryOperator::negate : UnaryOperator::plus;
        EXO_TRY_ASSIGN(result, make(line, depth, Unary{operation, std::move(operand)}));
    } else {
        EXO_TRY_ASSIGN(result, parse_primary());
    }
    EXO_TRY_ASSIGN(result, parse_postfix(std::move(result)));
    if (filters == FiltersAllowed::no) return result;
    return parse_filters_and_tests(std::move(result));
}

ExpressionParser::Parsed ExpressionParser::parse_primary() {
    const std::uint32_t line = tokens_.line();
    const Token& token = tokens_.current();
    switch (token.kind) {
        case TokenKind::name:
            return parse_name();
        case TokenKind::integer:
            return make(line, 0, Literal{tokens_.next().integer});
        case TokenKind::real:
            return make(line, 0, Literal{tokens_.next().real});
        case TokenKind::string: {
            std::string text;
            while (tokens_.is(TokenKind::string)) text += tokens_.next().text;
            return make(line, 0, Literal{std::move(text)});
        }
        case TokenKind::symbol:
            if (token.text == "(") return parse_parentheses();
            if (token.text == "[") return parse_list();
            if (token.text == "{") return parse_dict();
            break;
        case TokenKind::text:
        case TokenKind::expression_begin:
        case TokenKind::expression_end:
        case TokenKind::statement_begin:
        case TokenKind::statement_end:
        case TokenKind::end:
            break;
    }
    return tokens_.unexpected("an expression");
}

ExpressionParser::Parsed ExpressionParser::parse_name() {
    const std::uint32_t line = tokens_.line();
    const std::string& name = tokens_.next().text;
    if (name == "true" || name == "True") return make(line, 0, Literal{true});
    if (name == "false" || name == "False") return make(line, 0, Literal{false});
    if (name == "none" || name == "None") return make(line, 0, Literal{None{}});
    note_special_name(name);
    return make(line, 0, Name{intern(name)});
}

ExpressionParser::Parsed ExpressionParser::parse_parentheses() {
    const std::uint32_t line = tokens_.next().line;
    if (tokens_.skip_symbol(")")) return make(line, 0, ListDisplay{SequenceKind::tuple, {}});
    EXO_TRY_ASSIGN(ExpressionRef result, parse_tuple(ConditionalAllowed::yes));
    EXO_TRY(tokens_.expect_symbol(")"));
    return result;
}

ExpressionParser::Parsed ExpressionParser::parse_list() {
    const std::uint32_t line = tokens_.next().line;
    ListDisplay node{SequenceKind::list, {}};
    while (!tokens_.is_symbol("]")) {
        if (!node.items.empty()) EXO_TRY(tokens_.expect_symbol(","));
        if (tokens_.is_symbol("]")) break;
        EXO_TRY_ASSIGN(ExpressionRef item, parse_expression());
        node.items.push_back(std::move(item));
    }
    EXO_TRY(tokens_.expect_symbol("]"));
    const std::size_t depth = depth_of(node.items);
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_dict() {
    const std::uint32_t line = tokens_.next().line;
    DictDisplay node;
    std::size_t depth = 0;
    while (!tokens_.is_symbol("}")) {
        if (!node.entries.empty()) EXO_TRY(tokens_.expect_symbol(","));
        if (tokens_.is_symbol("}")) break;
        EXO_TRY_ASSIGN(ExpressionRef key, parse_expression());
        EXO_TRY(tokens_.expect_symbol(":"));
        EXO_TRY_ASSIGN(ExpressionRef value, parse_expression());
        depth = std::max({depth, key->depth, value->depth});
        node.entries.emplace_back(std::move(key), std::move(value));
    }
    EXO_TRY(tokens_.expect_symbol("}"));
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_postfix(ExpressionRef base) {
    while (tokens_.is(TokenKind::symbol)) {
        if (tokens_.is_symbol(".")) {
            EXO_TRY_ASSIGN(base, parse_attribute(std::move(base)));
        } else if (tokens_.is_symbol("[")) {
            EXO_TRY_ASSIGN(base, parse_subscript(std::move(base)));
        } else if (tokens_.is_symbol("(")) {
            EXO_TRY_ASSIGN(base, parse_call(std::move(base)));
        } else {
            break;
        }
    }
    return base;
}

ExpressionParser::Parsed ExpressionParser::parse_filters_and_tests(ExpressionRef base) {
    while (true) {
        if (tokens_.is_symbol("|")) {
            EXO_TRY_ASSIGN(base, parse_filter_chain(std::move(base)));
        } else if (tokens_.is_name("is")) {
            EXO_TRY_ASSIGN(base, parse_test(std::move(base)));
        } else if (tokens_.is_symbol("(")) {
            EXO_TRY_ASSIGN(base, parse_call(std::move(base)));
        } else {
            return base;
        }
    }
}

ExpressionParser::Parsed ExpressionParser::parse_attribute(ExpressionRef base) {
    const std::uint32_t line = tokens_.next().line;
    const std::size_t depth = depth_of(base);
    if (tokens_.is(TokenKind::integer)) {
        EXO_TRY_ASSIGN(ExpressionRef index, make(line, 0, Literal{tokens_.next().integer}));
        return make(line, depth, Item{std::move(base), std::move(index)});
    }
    EXO_TRY_ASSIGN(std::string name, tokens_.expect_any_name());
    return make(line, depth, Attribute{std::move(base), std::move(name)});
}

ExpressionParser::Parsed ExpressionParser::parse_subscript(ExpressionRef base) {
    const std::uint32_t line = tokens_.next().line;
    Slice slice{.base = nullptr, .start = nullptr, .stop = nullptr, .step = nullptr};
    if (!tokens_.is_symbol(":")) {
        EXO_TRY_ASSIGN(slice.start, parse_expression());
        if (tokens_.skip_symbol("]")) {
            const std::size_t depth = std::max(depth_of(base), depth_of(slice.start));
            return make(line, depth, Item{std::move(base), std::move(slice.start)});
        }
    }
    EXO_TRY(tokens_.expect_symbol(":"));
    if (!tokens_.is_symbol(":") && !tokens_.is_symbol("]")) {
        EXO_TRY_ASSIGN(slice.stop, parse_expression());
    }
    if (tokens_.skip_symbol(":") && !tokens_.is_symbol("]")) {
        EXO_TRY_ASSIGN(slice.step, parse_expression());
    }
    EXO_TRY(tokens_.expect_symbol("]"));
    slice.base = std::move(base);
    const std::size_t depth = std::max(
        {depth_of(slice.base), depth_of(slice.start), depth_of(slice.stop), depth_of(slice.step)});
    return make(line, depth, std::move(slice));
}

ExpressionParser::Parsed ExpressionParser::parse_call(ExpressionRef callee) {
    const std::uint32_t line = tokens_.line();
    EXO_TRY_ASSIGN(CallArguments arguments, parse_arguments());
    const std::size_t depth = std::max(depth_of(callee), depth_of(arguments));
    return make(line, depth, Call{std::move(callee), std::move(arguments)});
}

Result<CallArguments> ExpressionParser::parse_arguments() {
    CallArguments arguments;
    EXO_TRY(tokens_.expect_symbol("("));
    for (bool first = true; !tokens_.is_symbol(")"); first = false) {
        if (!first) EXO_TRY(tokens_.expect_symbol(","));
        if (tokens_.is_symbol(")")) break;
        const std::uint32_t line = tokens_.line();
        const bool after_rest =
            arguments.positional_rest != nullptr || arguments.named_rest != nullptr;
        bool in_order = true;
        if (tokens_.skip_symbol("*")) {
            in_order = !after_rest;
            EXO_TRY_ASSIGN(arguments.positional_rest, parse_expression());
        } else if (tokens_.skip_symbol("**")) {
            in_order = arguments.named_rest == nullptr;
            EXO_TRY_ASSIGN(arguments.named_rest, parse_expression());
        } else if (tokens_.is(TokenKind::name) && tokens_.following().kind == TokenKind::symbol &&
                   tokens_.following().text == "=") {
            in_order = arguments.named_rest == nullptr;
            std::string name = tokens_.next().text;
            tokens_.next();
            EXO_TRY_ASSIGN(ExpressionRef value, parse_expression());
            const auto is_same = [&](const auto& named) { return named.first == name; };
            if (std::ranges::any_of(arguments.named, is_same)) {
                return syntax_error(line, "the argument `" + name + "` is given twice");
            }
            arguments.named.emplace_back(std::move(name), std::move(value));
        } else {
            in_order = !after_rest && arguments.named.empty();
            EXO_TRY_ASSIGN(ExpressionRef value, parse_expression());
            arguments.positional.push_back(std::move(value));
        }
        if (!in_order) return syntax_error(line, "the arguments of a call are in the wrong order");
    }
    EXO_TRY(tokens_.expect_symbol(")"));
    return arguments;
}

ExpressionParser::Parsed ExpressionParser::parse_filter_chain(ExpressionRef input) {
    while (tokens_.skip_symbol("|")) {
        EXO_TRY_ASSIGN(input, parse_filter(std::move(input)));
    }
    return input;
}

ExpressionParser::Parsed ExpressionParser::parse_filter(ExpressionRef input) {
    const std::uint32_t line = tokens_.line();
    Filter node{.input = std::move(input), .name = {}, .function = nullptr, .arguments = {}};
    EXO_TRY_ASSIGN(node.name, tokens_.expect_any_name());
    node.function = find_filter(node.name);
    if (tokens_.is_symbol("(")) {
        EXO_TRY_ASSIGN(node.arguments, parse_arguments());
    }
    const std::size_t depth = std::max(depth_of(node.input), depth_of(node.arguments));
    return make(line, depth, std::move(node));
}

ExpressionParser::Parsed ExpressionParser::parse_test(ExpressionRef input) {
    const std::uint32_t line = tokens_.next().line;
    const bool negated = tokens_.skip_name("not");
    Test node{.input = std::move(input), .name = {}, .function = nullptr, .arguments = {}};
    EXO_TRY_ASSIGN(node.name, tokens_.expect_any_name());
    node.function = find_test(node.name);
    const bool at_value = (tokens_.is(TokenKind::name) && !tokens_.is_name("else") &&
                           !tokens_.is_name("or") && !tokens_.is_name("and")) ||
                          tokens_.is(TokenKind::string) || tokens_.is(TokenKind::integer) ||
                          tokens_.is(TokenKind::real) || tokens_.is_symbol("[") ||
                          tokens_.is_symbol("{");
    if (tokens_.is_symbol("(")) {
        EXO_TRY_ASSIGN(node.arguments, parse_arguments());
    } else if (tokens_.is_name("is")) {
        return syntax_error(line, "tests cannot be chained");
    } else if (at_value) {
        const Level level(depth_);
        EXO_TRY(check_depth(depth_));
        EXO_TRY_ASSIGN(ExpressionRef argument, parse_primary());
        EXO_TRY_ASSIGN(argument, parse_postfix(std::move(argument)));
        node.arguments.positional.push_back(std::move(argument));
    }
    const std::size_t depth = std::max(depth_of(node.input), depth_of(node.arguments));
    EXO_TRY_ASSIGN(ExpressionRef test, make(line, depth, std::move(node)));
    if (!negated) return test;
    return make(line, depth + 1, Unary{UnaryOperator::logical_not, std::move(test)});
}

}  // namespace exomesh::model::jinja
