// Matches the arguments of a call to the parameters of a function written in C++.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "model/jinja_interpreter.h"
#include "model/jinja_value.h"

namespace exomesh::model::jinja {

template <std::size_t count>
class BoundArguments {
  public:
    [[nodiscard]] bool has(std::size_t i) const { return values[i] != nullptr; }
    [[nodiscard]] const Value& operator[](std::size_t i) const { return *values[i]; }

    // The argument where given, with its type checked; `otherwise` where not.
    [[nodiscard]] Result<std::int64_t> integer(std::size_t i, std::int64_t otherwise) const {
        if (!has(i)) return otherwise;
        const Value& value = *values[i];
        if (value.is(Type::integer) || value.is(Type::boolean)) return value.integer();
        if (value.is(Type::undefined)) return undefined_error(value);
        return run_time_error("`" + std::string(names[i]) +
                              "` must be an integer, not a value of type " + type_name(value));
    }
    [[nodiscard]] Result<std::string> string(std::size_t i, std::string_view otherwise) const {
        if (!has(i)) return std::string(otherwise);
        const Value& value = *values[i];
        if (value.is(Type::string)) return value.string();
        if (value.is(Type::undefined)) return undefined_error(value);
        return run_time_error("`" + std::string(names[i]) +
                              "` must be a string, not a value of type " + type_name(value));
    }
    [[nodiscard]] bool truth(std::size_t i, bool otherwise) const {
        return has(i) ? values[i]->truth() : otherwise;
    }

    std::array<const Value*, count> values{};
    std::array<std::string_view, count> names{};
};

// Points into `arguments`, which must outlive the result.
template <std::size_t count>
[[nodiscard]] Result<BoundArguments<count>> bind_arguments(
    const Arguments& arguments, const std::array<std::string_view, count>& names,
    std::size_t required_count) {
    BoundArguments<count> bound;
    bound.names = names;
    if (arguments.positional.size() > count) {
        return run_time_error("too many arguments: at most " + std::to_string(count) +
                              " are taken");
    }
    for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
        bound.values[i] = &arguments.positional[i];
    }
    for (const auto& [name, value] : arguments.named) {
        const auto found = std::ranges::find(names, name);
        if (found == names.end()) return run_time_error("there is no argument `" + name + "`");
        const auto i = static_cast<std::size_t>(found - names.begin());
        if (bound.values[i] != nullptr) return run_time_error("`" + name + "` is given twice");
        bound.values[i] = &value;
    }
    for (std::size_t i = 0; i < required_count; ++i) {
        if (bound.values[i] == nullptr) {
            return run_time_error("the argument `" + std::string(names[i]) + "` is missing");
        }
    }
    return bound;
}

[[nodiscard]] inline Result<> bind_none(const Arguments& arguments) {
    if (arguments.positional.empty() && arguments.named.empty()) return {};
    return run_time_error("no arguments are taken");
}

}  // namespace exomesh::model::jinja
