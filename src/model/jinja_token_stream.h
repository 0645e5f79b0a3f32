// A cursor over tokens with the few questions a recursive descent asks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja_lexer.h"

namespace exomesh::model::jinja {

class TokenStream {
  public:
    explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

    [[nodiscard]] const Token& current() const { return tokens_[at_]; }
    [[nodiscard]] const Token& following() const {
        return tokens_[std::min(at_ + 1, tokens_.size() - 1)];
    }
    [[nodiscard]] std::uint32_t line() const { return current().line; }
    const Token& next() {
        const Token& token = current();
        if (at_ + 1 < tokens_.size()) ++at_;
        return token;
    }

    [[nodiscard]] bool is(TokenKind kind) const { return current().kind == kind; }
    [[nodiscard]] bool is_symbol(std::string_view symbol) const {
        return is(TokenKind::symbol) && current().text == symbol;
    }
    [[nodiscard]] bool is_name(std::string_view name) const {
        return is(TokenKind::name) && current().text == name;
    }
    bool skip_symbol(std::string_view symbol) {
        const bool found = is_symbol(symbol);
        if (found) next();
        return found;
    }
    bool skip_name(std::string_view name) {
        const bool found = is_name(name);
        if (found) next();
        return found;
    }

    [[nodiscard]] Result<> expect_symbol(std::string_view symbol) {
        if (skip_symbol(symbol)) return {};
        return unexpected("`" + std::string(symbol) + "`");
    }
    [[nodiscard]] Result<> expect_name(std::string_view name) {
        if (skip_name(name)) return {};
        return unexpected("`" + std::string(name) + "`");
    }
    [[nodiscard]] Result<std::string> expect_any_name() {
        if (!is(TokenKind::name)) return unexpected("a name");
        return next().text;
    }

    [[nodiscard]] std::unexpected<Error> unexpected(std::string_view wanted) const {
        return syntax_error(line(), "expected " + std::string(wanted) + ", found " + described());
    }

  private:
    [[nodiscard]] std::string described() const {
        switch (current().kind) {
            case TokenKind::text:
                return "text";
            case TokenKind::expression_begin:
                return "`{{`";
            case TokenKind::expression_end:
                return "`}}`";
            case TokenKind::statement_begin:
                return "`{%`";
            case TokenKind::statement_end:
                return "`%}`";
            case TokenKind::string:
                return "a string";
            case TokenKind::integer:
            case TokenKind::real:
                return "a number";
            case TokenKind::end:
                return "the end of the template";
            case TokenKind::name:
            case TokenKind::symbol:
                return "`" + current().text + "`";
        }
        return "something else";
    }

    std::vector<Token> tokens_;
    std::size_t at_ = 0;
};

}  // namespace exomesh::model::jinja
