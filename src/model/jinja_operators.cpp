#include "model/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "model/jinja_format.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_text.h"

namespace exomesh::model::jinja {

namespace {

std::string_view symbol_of(BinaryOperator operation) {
    switch (operation) {
        case BinaryOperator::add:
            return "+";
        case BinaryOperator::subtract:
            return "-";
        case BinaryOperator::multiply:
            return "*";
        case BinaryOperator::divide:
            return "/";
        case BinaryOperator::floor_divide:
            return "//";
        case BinaryOperator::modulo:
            return "%";
        case BinaryOperator::power:
            return "**";
    }
    return "?";
}

std::unexpected<Error> not_defined_for(BinaryOperator operation, const Value& left,
                                       const Value& right) {
    for (const Value* value : {&left, &right}) {
        if (value->is(Type::undefined)) return undefined_error(*value);
    }
    return run_time_error("the operator " + std::string(symbol_of(operation)) +
                          " does not take a value of type " + type_name(left) +
                          " and one of type " + type_name(right));
}

std::unexpected<Error> division_by_zero() {
    return run_time_error("division by zero");
}

std::unexpected<Error> integer_overflow() {
    return run_time_error("an integer is out of range: only 64 bits are supported");
}

Result<Value> power(const Value& left, const Value& right) {
    if (left.is(Type::real) || right.is(Type::real) || right.integer() < 0) {
        if (left.real() == 0 && right.real() < 0) return division_by_zero();
        const double result = std::pow(left.real(), right.real());
        if (std::isnan(result) && !std::isnan(left.real()) && !std::isnan(right.real())) {
            return run_time_error("the power of a negative number is not a real number");
        }
        if (std::isinf(result) && std::isfinite(left.real()) && std::isfinite(right.real())) {
            return run_time_error("the result of ** is too large");
        }
        return Value(result);
    }
    std::int64_t result = 1;
    std::int64_t base = left.integer();
    for (std::int64_t exponent = right.integer(); exponent > 0; exponent >>= 1) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
            return integer_overflow();
        }
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return integer_overflow();
    }
    return Value(result);
}

Result<Value> real_arithmetic(BinaryOperator operation, double left, double right) {
    switch (operation) {
        case BinaryOperator::add:
            return Value(left + right);
        case BinaryOperator::subtract:
            return Value(left - right);
        case BinaryOperator::multiply:
            return Value(left * right);
        case BinaryOperator::divide:
            if (right == 0) return division_by_zero();
            return Value(left / right);
        case BinaryOperator::floor_divide:
        case BinaryOperator::modulo: {
            if (right == 0) return division_by_zero();
            double remainder = std::fmod(left, right);
            double quotient = (left - remainder) / right;
            // The remainder takes the divisor's sign.
            if (remainder != 0) {
                if ((right < 0) != (remainder < 0)) {
                    remainder += right;
                    quotient -= 1;
                }
            } else {
                remainder = std::copysign(0.0, right);
            }
            if (operation == BinaryOperator::modulo) return Value(remainder);
            if (quotient == 0) return Value(std::copysign(0.0, left / right));
            const double floored = std::floor(quotient);
            return Value(quotient - floored > 0.5 ? floored + 1 : floored);
        }
        case BinaryOperator::power:
            break;
    }
    return power(left, right);
}

Result<Value> integer_arithmetic(BinaryOperator operation, std::int64_t left, std::int64_t right) {
    std::int64_t result = 0;
    switch (operation) {
        case BinaryOperator::add:
            if (__builtin_add_overflow(left, right, &result)) return integer_overflow();
            return Value(result);
        case BinaryOperator::subtract:
            if (__builtin_sub_overflow(left, right, &result)) return integer_overflow();
            return Value(result);
        case BinaryOperator::multiply:
            if (__builtin_mul_overflow(left, right, &result)) return integer_overflow();
            return Value(result);
        case BinaryOperator::divide:
            if (right == 0) return division_by_zero();
            return Value(static_cast<double>(left) / static_cast<double>(right));
        case BinaryOperator::floor_divide:
        case BinaryOperator::modulo: {
            if (right == 0) return division_by_zero();
            // The one quotient that does not fit would trap.
            if (right == -1)
                return integer_arithmetic(operation == BinaryOperator::modulo
                                              ? BinaryOperator::multiply
                                              : BinaryOperator::subtract,
                                          0, left);
            const bool adjust = left % right != 0 && (left % right < 0) != (right < 0);
            if (operation == BinaryOperator::modulo) {
                return Value(left % right + (adjust ? right : 0));
            }
            return Value(left / right - (adjust ? 1 : 0));
        }
        case BinaryOperator::power:
            break;
    }
    return power(left, right);
}

Result<Value> repeat(Interpreter& interpreter, const Value& value, std::int64_t count) {
    const auto times = static_cast<std::size_t>(std::max<std::int64_t>(count, 0));
    const bool is_text = value.is(Type::string);
    const std::size_t size = is_text ? value.string().size() : value.sequence().items.size();
    const std::size_t size_max =
        interpreter.limits().output_bytes_max / (is_text ? 1 : sizeof(Value));
    if (size != 0 && times > size_max / size) {
        return fail(ErrorCode::resource_exhausted, "a repetition makes a value that is too large");
    }
    EXO_TRY(interpreter.charge_bytes(size * times * (is_text ? 1 : sizeof(Value))));
    if (is_text) {
        std::string text;
        text.reserve(size * times);
        for (std::size_t i = 0; i < times && size != 0; ++i) text += value.string();
        return Value(std::move(text));
    }
    List items;
    items.reserve(size * times);
    for (std::size_t i = 0; i < times && size != 0; ++i) {
        items.insert(items.end(), value.sequence().items.begin(), value.sequence().items.end());
    }
    return make_sequence(value.sequence().kind, std::move(items));
}

bool repeats(const Value& value) {
    return value.is(Type::string) ||
           (value.is(Type::sequence) && value.sequence().kind <= SequenceKind::tuple);
}

bool is_whole(const Value& value) {
    return value.is(Type::integer) || value.is(Type::boolean);
}

Result<std::int64_t> slice_bound(const Value& value, std::int64_t otherwise) {
    if (value.is(Type::none)) return otherwise;
    if (!is_whole(value)) return run_time_error("the bounds of a slice must be integers");
    return value.integer();
}

}  // namespace

Result<Value> arithmetic(Interpreter& interpreter, BinaryOperator operation, const Value& left,
                         const Value& right) {
    if (left.is_number() && right.is_number()) {
        if (!left.is(Type::real) && !right.is(Type::real)) {
            return integer_arithmetic(operation, left.integer(), right.integer());
        }
        return real_arithmetic(operation, left.real(), right.real());
    }
    if (operation == BinaryOperator::add && left.type() == right.type() && repeats(left) &&
        repeats(right)) {
        if (left.is(Type::string) && (left.is_markup() || right.is_markup())) {
            const auto html = [](const Value& value) {
                return value.is_markup() ? value.string() : escape_html(value.string());
            };
            EXO_TRY_ASSIGN(const Value sum, interpreter.make_string(html(left) + html(right)));
            return sum.as_markup();
        }
        if (left.is(Type::string)) {
            std::string text;
            text.reserve(left.string().size() + right.string().size());
            return interpreter.make_string(text.append(left.string()).append(right.string()));
        }
        if (left.sequence().kind == right.sequence().kind) {
            List items = left.sequence().items;
            const List& more = right.sequence().items;
            EXO_TRY(interpreter.charge(1 + 2 * (items.size() + more.size())));
            items.insert(items.end(), more.begin(), more.end());
            return make_sequence(left.sequence().kind, std::move(items));
        }
    }
    if (operation == BinaryOperator::multiply) {
        if (repeats(left) && is_whole(right)) return repeat(interpreter, left, right.integer());
        if (is_whole(left) && repeats(right)) return repeat(interpreter, right, left.integer());
    }
    if (operation == BinaryOperator::modulo && left.is(Type::string)) {
        return format_percent(interpreter, left.string(), right);
    }
    return not_defined_for(operation, left, right);
}

Result<bool> compare(Interpreter& interpreter, Comparison comparison, const Value& left,
                     const Value& right) {
    const auto order = [&](auto holds) -> Result<bool> {
        if (left.is(Type::undefined)) return undefined_error(left);
        if (right.is(Type::undefined)) return undefined_error(right);
        // Every order with a NaN is false.
        for (const Value* value : {&left, &right}) {
            if (value->is(Type::real) && std::isnan(value->real()) && left.is_number() &&
                right.is_number()) {
                return false;
            }
        }
        EXO_TRY_ASSIGN(const int result, compare(left, right));
        return holds(result);
    };
    EXO_TRY(interpreter.charge_bytes(left.extent().size_bytes));
    switch (comparison) {
        case Comparison::equal:
            return equal(left, right);
        case Comparison::not_equal:
            return !equal(left, right);
        case Comparison::less:
            return order([](int result) { return result < 0; });
        case Comparison::less_equal:
            return order([](int result) { return result <= 0; });
        case Comparison::greater:
            return order([](int result) { return result > 0; });
        case Comparison::greater_equal:
            return order([](int result) { return result >= 0; });
        case Comparison::in:
            return contains(interpreter, right, left);
        case Comparison::not_in: {
            EXO_TRY_ASSIGN(const bool found, contains(interpreter, right, left));
            return !found;
        }
    }
    return false;
}

Result<bool> contains(Interpreter& interpreter, const Value& container, const Value& item) {
    if (container.is(Type::string)) {
        if (item.is(Type::undefined)) return undefined_error(item);
        if (!item.is(Type::string)) {
            return run_time_error("a string can contain strings only, not a value of type " +
                                  type_name(item));
        }
        EXO_TRY(interpreter.charge_search(container.string(), item.string()));
        return container.string().contains(item.string());
    }
    if (container.is(Type::dict)) {
        EXO_TRY(interpreter.charge_bytes(item.extent().size_bytes));
        if (!Dict().set(item, None{})) {
            return run_time_error("a value of type " + type_name(item) +
                                  " cannot be a dictionary's key");
        }
        return container.dict().find(item) != nullptr;
    }
    if (container.is(Type::iterator)) {
        // A generator is consumed up to what is found.
        Iterator& iterator = container.iterator();
        while (iterator.next < iterator.items.size()) {
            const Value& candidate = iterator.items[iterator.next++];
            EXO_TRY(interpreter.charge_bytes(
                std::min(candidate.extent().size_bytes, item.extent().size_bytes)));
            if (equal(candidate, item)) return true;
        }
        if (iterator.error) return std::unexpected(*iterator.error);
        return false;
    }
    EXO_TRY_ASSIGN(const List items, interpreter.items_of(container));
    if (container.is(Type::sequence)) {
        EXO_TRY(charge_comparisons(interpreter, container.sequence(), item));
    }
    for (const Value& candidate : items) {
        if (equal(candidate, item)) return true;
    }
    return false;
}

// Comparing two values walks no further than the smaller one.
Result<> charge_comparisons(Interpreter& interpreter, const Sequence& container,
                            const Value& item) {
    return interpreter.charge_bytes(
        std::min(container.extent.size_bytes, container.items.size() * item.extent().size_bytes));
}

Result<Value> slice(Interpreter& interpreter, const Value& base, const Value& start,
                    const Value& stop, const Value& step) {
    if (base.is(Type::undefined)) return undefined_error(base);
    const bool is_text = base.is(Type::string);
    if (!is_text && (!base.is(Type::sequence) || base.sequence().kind > SequenceKind::range)) {
        return run_time_error("a value of type " + type_name(base) + " cannot be sliced");
    }
    EXO_TRY(
        interpreter.charge(1 + (is_text ? base.string().size() : base.sequence().items.size())));
    std::vector<std::string_view> points;
    if (is_text) points = code_points(base.string());
    const auto count =
        static_cast<std::int64_t>(is_text ? points.size() : base.sequence().items.size());
    EXO_TRY_ASSIGN(const std::int64_t stride, slice_bound(step, 1));
    if (stride == 0) return run_time_error("the step of a slice cannot be zero");
    const bool forward = stride > 0;
    const auto clamp = [&](std::int64_t at) {
        if (at < 0) at = at < -count ? -1 - count : at + count;
        if (at < 0) return forward ? std::int64_t{0} : std::int64_t{-1};
        return std::min(at, forward ? count : count - 1);
    };
    EXO_TRY_ASSIGN(std::int64_t first, slice_bound(start, forward ? 0 : count - 1));
    first = start.is(Type::none) ? first : clamp(first);
    EXO_TRY_ASSIGN(std::int64_t last, slice_bound(stop, forward ? count : -1));
    last = stop.is(Type::none) ? last : clamp(last);
    std::string text;
    List items;
    for (std::int64_t at = first; forward ? at < last : at > last;) {
        if (is_text) {
            text += points[static_cast<std::size_t>(at)];
        } else {
            items.push_back(base.sequence().items[static_cast<std::size_t>(at)]);
        }
        if (__builtin_add_overflow(at, stride, &at)) break;
    }
    if (is_text) return interpreter.make_string(std::move(text));
    EXO_TRY_ASSIGN(const Extent extent, extent_of(items));
    // Only a range prints these; beyond 64 bits they wrap.
    const Sequence::Range& range = base.sequence().range;
    const auto at = [&](std::int64_t i, std::int64_t origin) {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(origin) +
                                         static_cast<std::uint64_t>(i) *
                                             static_cast<std::uint64_t>(range.step));
    };
    const Sequence::Range part{
        .start = at(first, range.start), .stop = at(last, range.start), .step = at(stride, 0)};
    return Value(
        std::make_shared<const Sequence>(base.sequence().kind, std::move(items), extent, part));
}

Result<Value> repeat_text(Interpreter& interpreter, std::string_view text, std::int64_t count) {
    return repeat(interpreter, Value(std::string(text)), count);
}

Result<Value> replace_checked(Interpreter& interpreter, std::string_view text,
                              std::string_view old_text, std::string_view new_text,
                              std::int64_t count_max) {
    EXO_TRY(interpreter.charge_search(text, old_text));
    EXO_TRY(interpreter.charge_bytes(new_text.size()));
    const std::size_t places = old_text.empty() ? text.size() + 1 : text.size() / old_text.size();
    const std::size_t growth =
        new_text.size() > old_text.size() ? new_text.size() - old_text.size() : 0;
    if (growth != 0 && places > (interpreter.limits().output_bytes_max * 4) / growth) {
        return fail(ErrorCode::resource_exhausted,
                    "a replacement could make a text that is too large");
    }
    return interpreter.make_string(
        replace(text, old_text, new_text, std::max<std::int64_t>(count_max, -1)));
}

}  // namespace exomesh::model::jinja
