#include "model/jinja_tests.h"

#include <algorithm>
#include <array>
#include <utility>

#include "model/jinja_arguments.h"
#include "model/jinja_filters.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_operators.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

using TestEntry = std::pair<std::string_view, TestFunction>;

template <bool (*holds)(const Value&)>
Result<bool> plain(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return holds(value);
}

template <Type type>
bool has_type(const Value& value) {
    return value.is(type);
}

bool is_defined(const Value& value) {
    return !value.is(Type::undefined);
}
bool is_true(const Value& value) {
    return value.is(Type::boolean) && value.boolean();
}
bool is_false(const Value& value) {
    return value.is(Type::boolean) && !value.boolean();
}
bool is_integer(const Value& value) {
    return value.is(Type::integer);
}
bool is_number(const Value& value) {
    return value.is_number();
}
bool is_iterable(const Value& value) {
    return value.is(Type::string) || value.is(Type::sequence) || value.is(Type::dict) ||
           value.is(Type::iterator) || value.is(Type::undefined) || value.is(Type::loop);
}

template <std::uint32_t (*wanted)(std::uint32_t)>
Result<bool> has_case(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    EXO_TRY_ASSIGN(const std::string text, interpreter.text_of(value));
    return is_cased(text, wanted);
}

// What has a length and items; a view of a dictionary's keys has no items by number.
bool is_sequence(const Value& value) {
    if (value.is(Type::sequence)) return value.sequence().kind <= SequenceKind::range;
    return value.is(Type::string) || value.is(Type::dict) || value.is(Type::undefined);
}

bool is_callable(const Value& value) {
    return value.is(Type::macro) || value.is(Type::function) || value.is(Type::method) ||
           value.is(Type::loop) || value.is(Type::joiner) || value.is(Type::undefined);
}

Result<bool> is_odd_or_even(const Value& value, std::int64_t remainder) {
    if (value.is(Type::undefined)) return undefined_error(value);
    if (!value.is_number()) {
        return run_time_error("a value of type " + type_name(value) + " is neither odd nor even");
    }
    if (value.is(Type::real)) {
        const double modulo = value.real() - 2 * __builtin_floor(value.real() / 2);
        return modulo == static_cast<double>(remainder);
    }
    return (value.integer() & 1) == remainder;
}

Result<bool> is_odd(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return is_odd_or_even(value, 1);
}

Result<bool> is_even(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return is_odd_or_even(value, 0);
}

template <Comparison comparison>
Result<bool> compares(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"other"}), 1));
    return compare(interpreter, comparison, value, bound[0]);
}

Result<bool> is_divisible(Interpreter& interpreter, const Value& value,
                          const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"num"}), 1));
    EXO_TRY_ASSIGN(const Value remainder,
                   arithmetic(interpreter, BinaryOperator::modulo, value, bound[0]));
    return equal(remainder, Value(std::int64_t{0}));
}

Result<bool> is_same(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
    EXO_TRY_ASSIGN(const auto bound,
                   bind_arguments(arguments, std::to_array<std::string_view>({"other"}), 1));
    EXO_TRY(interpreter.charge_bytes(value.extent().size_bytes));
    return value.same_object(bound[0]);
}

Result<bool> is_filter(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return value.is(Type::string) && find_filter(value.string()) != nullptr;
}

Result<bool> is_test(Interpreter&, const Value& value, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return value.is(Type::string) && find_test(value.string()) != nullptr;
}

Result<bool> is_escaped(Interpreter&, const Value&, const Arguments& arguments) {
    EXO_TRY(bind_none(arguments));
    return false;
}

}  // namespace

TestFunction find_test(std::string_view name) {
    static constexpr auto tests = std::to_array<TestEntry>({
        {"defined", plain<is_defined>},
        {"undefined", plain<has_type<Type::undefined>>},
        {"none", plain<has_type<Type::none>>},
        {"string", plain<has_type<Type::string>>},
        {"mapping", plain<has_type<Type::dict>>},
        {"boolean", plain<has_type<Type::boolean>>},
        {"integer", plain<is_integer>},
        {"float", plain<has_type<Type::real>>},
        {"number", plain<is_number>},
        {"true", plain<is_true>},
        {"false", plain<is_false>},
        {"iterable", plain<is_iterable>},
        {"sequence", plain<is_sequence>},
        {"callable", plain<is_callable>},
        {"lower", has_case<lower>},
        {"upper", has_case<upper>},
        {"odd", is_odd},
        {"even", is_even},
        {"divisibleby", is_divisible},
        {"sameas", is_same},
        {"escaped", is_escaped},
        {"filter", is_filter},
        {"test", is_test},
        {"in", compares<Comparison::in>},
        {"equalto", compares<Comparison::equal>},
        {"eq", compares<Comparison::equal>},
        {"==", compares<Comparison::equal>},
        {"ne", compares<Comparison::not_equal>},
        {"!=", compares<Comparison::not_equal>},
        {"lt", compares<Comparison::less>},
        {"<", compares<Comparison::less>},
        {"lessthan", compares<Comparison::less>},
        {"le", compares<Comparison::less_equal>},
        {"<=", compares<Comparison::less_equal>},
        {"gt", compares<Comparison::greater>},
        {">", compares<Comparison::greater>},
        {"greaterthan", compares<Comparison::greater>},
        {"ge", compares<Comparison::greater_equal>},
        {">=", compares<Comparison::greater_equal>},
    });
    const auto* found = std::ranges::find(tests, name, &TestEntry::first);
    return found == tests.end() ? nullptr : found->second;
}

}  // namespace exomesh::model::jinja
