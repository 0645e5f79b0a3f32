// Python's operators over Values.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/jinja_ast.h"
#include "model/jinja_value.h"

namespace exomesh::model::jinja {

[[nodiscard]] Result<Value> arithmetic(Interpreter& interpreter, BinaryOperator operation,
                                       const Value& left, const Value& right);
[[nodiscard]] Result<bool> compare(Interpreter& interpreter, Comparison comparison,
                                   const Value& left, const Value& right);
[[nodiscard]] Result<bool> contains(Interpreter& interpreter, const Value& container,
                                    const Value& item);
// The work of comparing `item` with each of the container's items.
[[nodiscard]] Result<> charge_comparisons(Interpreter& interpreter, const Sequence& container,
                                          const Value& item);
// base[start:stop:step]; none where a bound is left out.
[[nodiscard]] Result<Value> slice(Interpreter& interpreter, const Value& base, const Value& start,
                                  const Value& stop, const Value& step);

// Text made larger, refused before it is made where it would be too large.
[[nodiscard]] Result<Value> repeat_text(Interpreter& interpreter, std::string_view text,
                                        std::int64_t count);
[[nodiscard]] Result<Value> replace_checked(Interpreter& interpreter, std::string_view text,
                                            std::string_view old_text, std::string_view new_text,
                                            std::int64_t count_max);

}  // namespace exomesh::model::jinja
