// The half of the parser that reads expressions.
#pragma once

#include <cstddef>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/jinja_ast.h"
#include "model/jinja_token_stream.h"

namespace exomesh::model::jinja {

class ExpressionParser {
  public:
    explicit ExpressionParser(std::vector<Token> tokens);

  protected:
    using Parsed = Result<ExpressionRef>;

    // Counts one level of nesting for as long as it lives.
    class Level {
      public:
        explicit Level(std::size_t& depth) : depth_(depth) { ++depth_; }
        ~Level() { --depth_; }
        Level(const Level&) = delete;
        Level& operator=(const Level&) = delete;

      private:
        std::size_t& depth_;
    };
    [[nodiscard]] Result<> check_depth(std::size_t depth) const;

    enum class ConditionalAllowed { no, yes };  // a for's iterable and an if's test take none

    // Expressions separated by commas are a tuple, as in `for x in 1, 2`.
    [[nodiscard]] Parsed parse_tuple(ConditionalAllowed conditional);
    [[nodiscard]] Parsed parse_expression(ConditionalAllowed conditional = ConditionalAllowed::yes);
    [[nodiscard]] Parsed parse_filter_chain(ExpressionRef input);  // `| a | b(c)`
    [[nodiscard]] Parsed parse_filter(ExpressionRef input);        // `a(c)`, after the `|`
    [[nodiscard]] NameId intern(std::string_view name);

    TokenStream tokens_;
    Template template_;
    std::size_t depth_ = 0;
    std::vector<MacroDefinition*> enclosing_macros_;  // innermost last

  private:
    [[nodiscard]] Parsed parse_conditional();
    [[nodiscard]] Parsed parse_logical(LogicalOperator operation);
    [[nodiscard]] Parsed parse_not();
    [[nodiscard]] Parsed parse_compare();
    [[nodiscard]] Parsed parse_sum();
    [[nodiscard]] Parsed parse_concatenation();
    [[nodiscard]] Parsed parse_product();
    [[nodiscard]] Parsed parse_power();
    enum class FiltersAllowed { no, yes };
    [[nodiscard]] Parsed parse_unary(FiltersAllowed filters);
    [[nodiscard]] Parsed parse_primary();
    [[nodiscard]] Parsed parse_name();
    [[nodiscard]] Parsed parse_parentheses();
    [[nodiscard]] Parsed parse_list();
    [[nodiscard]] Parsed parse_dict();
    [[nodiscard]] Parsed parse_postfix(ExpressionRef base);
    [[nodiscard]] Parsed parse_filters_and_tests(ExpressionRef base);
    [[nodiscard]] Parsed parse_attribute(ExpressionRef base);
    [[nodiscard]] Parsed parse_subscript(ExpressionRef base);
    [[nodiscard]] Parsed parse_call(ExpressionRef callee);
    [[nodiscard]] Parsed parse_test(ExpressionRef input);
    [[nodiscard]] Result<CallArguments> parse_arguments();

    template <typename Next>
    Parsed parse_arithmetic(
        Next next, std::initializer_list<std::pair<std::string_view, BinaryOperator>> operators);

    [[nodiscard]] bool at_tuple_end() const;
    void note_special_name(std::string_view name);

    std::unordered_map<std::string, NameId> name_ids_;
};

}  // namespace exomesh::model::jinja
