// Splits a template into tokens, applying white space control (`-`, `+`, trim_blocks,
// lstrip_blocks), comments and raw blocks on the way, as Jinja2's lexer does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exomesh::model::jinja {

enum class TokenKind {
    text,  // what is printed as it is
    expression_begin,
    expression_end,
    statement_begin,
    statement_end,
    name,
    string,
    integer,
    real,
    symbol,  // an operator or bracket
    end,
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::uint32_t line = 1;
    std::string text = {};  // names, symbols, decoded strings, text
    std::int64_t integer = 0;
    double real = 0;
};

// The last token is `end`. A syntax error names its line.
[[nodiscard]] Result<std::vector<Token>> tokenize(std::string_view source);

[[nodiscard]] std::unexpected<Error> syntax_error(std::uint32_t line, std::string_view message);

}  // namespace exomesh::model::jinja
