#include "model/jinja_parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "model/jinja_expression_parser.h"

namespace exomesh::model::jinja {

namespace {

class Parser : ExpressionParser {
  public:
    using ExpressionParser::ExpressionParser;

    Result<Template> run() {
        EXO_TRY_ASSIGN(template_.body, parse_body({}));
        return std::move(template_);
    }

  private:
    using Ends = std::initializer_list<std::string_view>;

    // Statements up to `{%` and one of the names in `ends`, which becomes the current token; up to
    // the end of the template where `ends` is empty.
    Result<Body> parse_body(Ends ends) {
        const Level level(depth_);
        EXO_TRY(check_depth(depth_));
        Body body;
        const std::uint32_t begin_line = tokens_.line();
        while (!tokens_.is(TokenKind::end)) {
            const std::uint32_t line = tokens_.line();
            if (tokens_.is(TokenKind::text)) {
                body.emplace_back(Text{tokens_.next().text}, line);
                continue;
            }
            if (tokens_.is(TokenKind::expression_begin)) {
                tokens_.next();
                EXO_TRY_ASSIGN(ExpressionRef expression, parse_tuple(ConditionalAllowed::yes));
                Output output;
                output.expressions.push_back(std::move(expression));
                body.emplace_back(std::move(output), line);
                EXO_TRY(expect(TokenKind::expression_end, "`}}`"));
                continue;
            }
            EXO_TRY(expect(TokenKind::statement_begin, "a tag"));
            const auto is_here = [&](std::string_view end) { return tokens_.is_name(end); };
            if (std::ranges::any_of(ends, is_here)) return body;
            EXO_TRY_ASSIGN(Statement statement, parse_statement());
            body.push_back(std::move(statement));
            EXO_TRY(expect(TokenKind::statement_end, "`%}`"));
        }
        if (ends.size() == 0) return body;
        return syntax_error(begin_line, "the block that begins here has no end: `{% " +
                                            std::string(*(ends.end() - 1)) + " %}` is missing");
    }

    // `%}`, the statements, and the end's name: the whole rest of a block with one possible end.
    Result<Body> parse_block(std::string_view end) {
        EXO_TRY(expect(TokenKind::statement_end, "`%}`"));
        EXO_TRY_ASSIGN(Body body, parse_body({end}));
        tokens_.next();
        return body;
    }

    Result<> expect(TokenKind kind, std::string_view wanted) {
        if (!tokens_.is(kind)) return tokens_.unexpected(wanted);
        tokens_.next();
        return {};
    }

    Result<Statement> parse_statement() {
        const std::uint32_t line = tokens_.line();
        EXO_TRY_ASSIGN(const std::string name, tokens_.expect_any_name());
        using Parse = Result<Statement> (Parser::*)(std::uint32_t);
        static constexpr auto parsers = std::to_array<std::pair<std::string_view, Parse>>({
            {"if", &Parser::parse_if},
            {"for", &Parser::parse_for},
            {"set", &Parser::parse_set},
            {"macro", &Parser::parse_macro},
            {"call", &Parser::parse_call_block},
            {"filter", &Parser::parse_filter_block},
            {"with", &Parser::parse_with},
            {"print", &Parser::parse_print},
            {"generation", &Parser::parse_generation},
        });
        const auto* found =
            std::ranges::find(parsers, name, &std::pair<std::string_view, Parse>::first);
        if (found != parsers.end()) return (this->*found->second)(line);
        if (name == "break") return Statement{Break{}, line};
        if (name == "continue") return Statement{Continue{}, line};
        return syntax_error(line, "there is no statement `" + name + "`");
    }

    Result<Statement> parse_if(std::uint32_t line) {
        If node;
        do {
            EXO_TRY_ASSIGN(ExpressionRef condition, parse_tuple(ConditionalAllowed::no));
            EXO_TRY(expect(TokenKind::statement_end, "`%}`"));
            EXO_TRY_ASSIGN(Body body, parse_body({"elif", "else", "endif"}));
            node.branches.emplace_back(std::move(condition), std::move(body));
        } while (tokens_.skip_name("elif"));
        if (tokens_.skip_name("else")) {
            EXO_TRY_ASSIGN(node.otherwise, parse_block("endif"));
        } else {
            tokens_.next();
        }
        return Statement{std::move(node), line};
    }

    Result<Statement> parse_for(std::uint32_t line) {
        For node;
        EXO_TRY_ASSIGN(node.target, parse_target(NamespaceAllowed::no));
        EXO_TRY(tokens_.expect_name("in"));
        EXO_TRY_ASSIGN(node.iterable, parse_tuple(ConditionalAllowed::no));
        if (tokens_.skip_name("if")) {
            EXO_TRY_ASSIGN(node.condition, parse_expression());
        }
        node.recursive = tokens_.skip_name("recursive");
        EXO_TRY(expect(TokenKind::statement_end, "`%}`"));
        ++loop_depth_;
        EXO_TRY_ASSIGN(node.body, parse_body({"else", "endfor"}));
        --loop_depth_;
        if (tokens_.skip_name("else")) {
            EXO_TRY_ASSIGN(node.otherwise, parse_block("endfor"));
        } else {
            tokens_.next();
        }
        return Statement{std::move(node), line};
    }

    enum class NamespaceAllowed { no, yes };

    Result<Target> parse_target(NamespaceAllowed allowed) {
        const Level level(depth_);
        EXO_TRY(check_depth(depth_));
        EXO_TRY_ASSIGN(Target first, parse_single_target(allowed));
        if (!tokens_.is_symbol(",")) return first;
        Target tuple{.is_tuple = true};
        tuple.parts.push_back(std::move(first));
        while (tokens_.skip_symbol(",")) {
            if (tokens_.is_name("in") || tokens_.is_symbol("=") || tokens_.is_symbol(")")) break;
            EXO_TRY_ASSIGN(Target part, parse_single_target(allowed));
            tuple.parts.push_back(std::move(part));
        }
        return tuple;
    }

    Result<Target> parse_single_target(NamespaceAllowed allowed) {
        if (tokens_.skip_symbol("(")) {
            EXO_TRY_ASSIGN(Target inner, parse_target(allowed));
            EXO_TRY(tokens_.expect_symbol(")"));
            return inner;
        }
        const std::uint32_t line = tokens_.line();
        EXO_TRY_ASSIGN(const std::string name, tokens_.expect_any_name());
        for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
            if (name == constant) return syntax_error(line, "cannot assign to `" + name + "`");
        }
        Target target{.name = intern(name)};
        if (allowed == NamespaceAllowed::yes && tokens_.skip_symbol(".")) {
            EXO_TRY_ASSIGN(target.attribute, tokens_.expect_any_name());
        }
        return target;
    }

    Result<Statement> parse_set(std::uint32_t line) {
        EXO_TRY_ASSIGN(Target target, parse_target(NamespaceAllowed::yes));
        if (tokens_.skip_symbol("=")) {
            EXO_TRY_ASSIGN(ExpressionRef value, parse_tuple(ConditionalAllowed::yes));
            return Statement{Set{std::move(target), std::move(value)}, line};
        }
        SetBlock node{.target = std::move(target), .filter = nullptr, .body = {}};
        EXO_TRY_ASSIGN(node.filter, parse_filter_chain(nullptr));
        EXO_TRY_ASSIGN(node.body, parse_block("endset"));
        return Statement{std::move(node), line};
    }

    Result<std::vector<Parameter>> parse_parameters() {
        std::vector<Parameter> parameters;
        EXO_TRY(tokens_.expect_symbol("("));
        while (!tokens_.is_symbol(")")) {
            if (!parameters.empty()) EXO_TRY(tokens_.expect_symbol(","));
            EXO_TRY_ASSIGN(const std::string name, tokens_.expect_any_name());
            Parameter parameter{intern(name), nullptr};
            if (tokens_.skip_symbol("=")) {
                EXO_TRY_ASSIGN(parameter.default_value, parse_expression());
            } else if (!parameters.empty() && parameters.back().default_value != nullptr) {
                return syntax_error(
                    tokens_.line(),
                    "the parameter `" + name + "` needs a default, as those before it have");
            }
            parameters.push_back(std::move(parameter));
        }
        EXO_TRY(tokens_.expect_symbol(")"));
        return parameters;
    }

    // The rest of a macro or call block, from its body on; a loop outside of it cannot be left from
    // it.
    Result<> parse_macro_body(MacroDefinition& macro, std::string_view end) {
        enclosing_macros_.push_back(&macro);
        const std::size_t loop_depth = std::exchange(loop_depth_, 0);
        EXO_TRY_ASSIGN(macro.body, parse_block(end));
        loop_depth_ = loop_depth;
        enclosing_macros_.pop_back();
        return {};
    }

    Result<Statement> parse_macro(std::uint32_t line) {
        auto macro = std::make_shared<MacroDefinition>();
        EXO_TRY_ASSIGN(macro->name, tokens_.expect_any_name());
        const NameId name = intern(macro->name);
        EXO_TRY_ASSIGN(macro->parameters, parse_parameters());
        EXO_TRY(parse_macro_body(*macro, "endmacro"));
        return Statement{MacroStatement{name, std::move(macro)}, line};
    }

    Result<Statement> parse_call_block(std::uint32_t line) {
        auto caller = std::make_shared<MacroDefinition>();
        caller->name = "caller";
        if (tokens_.is_symbol("(")) {
            EXO_TRY_ASSIGN(caller->parameters, parse_parameters());
        }
        EXO_TRY_ASSIGN(ExpressionRef call, parse_expression());
        if (!std::holds_alternative<Call>(call->node)) {
            return syntax_error(line, "`call` needs a call, as in `{% call f() %}`");
        }
        EXO_TRY(parse_macro_body(*caller, "endcall"));
        return Statement{CallBlock{std::move(call), std::move(caller)}, line};
    }

    Result<Statement> parse_filter_block(std::uint32_t line) {
        FilterBlock node;
        EXO_TRY_ASSIGN(node.filter, parse_filter(nullptr));
        EXO_TRY_ASSIGN(node.filter, parse_filter_chain(std::move(node.filter)));
        EXO_TRY_ASSIGN(node.body, parse_block("endfilter"));
        return Statement{std::move(node), line};
    }

    Result<Statement> parse_with(std::uint32_t line) {
        With node;
        while (!tokens_.is(TokenKind::statement_end)) {
            if (!node.assignments.empty()) EXO_TRY(tokens_.expect_symbol(","));
            EXO_TRY_ASSIGN(Target target, parse_single_target(NamespaceAllowed::no));
            EXO_TRY(tokens_.expect_symbol("="));
            EXO_TRY_ASSIGN(ExpressionRef value, parse_expression());
            node.assignments.emplace_back(std::move(target), std::move(value));
        }
        EXO_TRY_ASSIGN(node.body, parse_block("endwith"));
        return Statement{std::move(node), line};
    }

    Result<Statement> parse_print(std::uint32_t line) {
        Output node;
        while (!tokens_.is(TokenKind::statement_end)) {
            if (!node.expressions.empty()) EXO_TRY(tokens_.expect_symbol(","));
            EXO_TRY_ASSIGN(ExpressionRef expression, parse_expression());
            node.expressions.push_back(std::move(expression));
        }
        return Statement{std::move(node), line};
    }

    Result<Statement> parse_generation(std::uint32_t line) {
        EXO_TRY_ASSIGN(Body body, parse_block("endgeneration"));
        return Statement{Generation{std::move(body)}, line};
    }

    std::size_t loop_depth_ = 0;
};

}  // namespace

std::optional<NameId> Template::find_name(std::string_view name) const {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) return std::nullopt;
    return static_cast<NameId>(found - names.begin());
}

Result<Template> parse(std::string_view source) {
    EXO_TRY_ASSIGN(std::vector<Token> tokens, tokenize(source));
    return Parser(std::move(tokens)).run();
}

}  // namespace exomesh::model::jinja
