#include "model/jinja_json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/jinja_interpreter.h"

namespace exomesh::model::jinja {

namespace {

Result<Value> convert(const Json& json, std::size_t depth) {
    if (depth > value_depth_max) {
        return fail(ErrorCode::invalid_argument, "the messages are nested more than " +
                                                     std::to_string(value_depth_max) + " deep");
    }
    switch (json.type()) {
        case Json::value_t::null:
            return Value(None{});
        case Json::value_t::boolean:
            return Value(json.get<bool>());
        case Json::value_t::string:
            return Value(json.get<std::string>());
        case Json::value_t::number_integer:
            return Value(json.get<std::int64_t>());
        case Json::value_t::number_unsigned: {
            const auto number = json.get<std::uint64_t>();
            if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
                return Value(static_cast<double>(number));
            }
            return Value(static_cast<std::int64_t>(number));
        }
        case Json::value_t::number_float:
            return Value(json.get<double>());
        case Json::value_t::array: {
            List items;
            items.reserve(json.size());
            for (const Json& element : json) {
                EXO_TRY_ASSIGN(Value item, convert(element, depth + 1));
                items.push_back(std::move(item));
            }
            return make_list(std::move(items));
        }
        case Json::value_t::object: {
            Dict dict;
            for (const auto& [key, element] : json.items()) {
                EXO_TRY_ASSIGN(Value value, convert(element, depth + 1));
                (void)dict.set(Value(key), std::move(value));
            }
            return make_dict(std::move(dict));
        }
        case Json::value_t::binary:
        case Json::value_t::discarded:
            break;
    }
    return fail(ErrorCode::invalid_argument, "the messages hold a value that is not JSON");
}

class Writer {
  public:
    explicit Writer(const JsonStyle& style) : style_(style) {}

    Result<std::string> run(const Value& value) {
        EXO_TRY(write(value, 1));
        return std::move(output_);
    }

  private:
    static std::string number(double value) {
        if (std::isnan(value)) return "NaN";
        if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
        return real_text(value);
    }

    // The text of a scalar that may also be a key.
    static std::optional<std::string> scalar(const Value& value) {
        if (value.is(Type::none)) return "null";
        if (value.is(Type::boolean)) return value.boolean() ? "true" : "false";
        if (value.is(Type::integer)) return std::to_string(value.integer());
        if (value.is(Type::real)) return number(value.real());
        return std::nullopt;
    }

    Result<> write(const Value& value, std::size_t level) {
        if (const std::optional<std::string> text = scalar(value)) {
            output_ += *text;
        } else if (value.is(Type::string)) {
            append_json_string(value.string(), style_.escape, output_);
        } else if (value.is(Type::sequence) && value.sequence().kind <= SequenceKind::tuple) {
            EXO_TRY(write_list(value.sequence().items, level));
        } else if (value.is(Type::dict)) {
            EXO_TRY(write_dict(value.dict(), level));
        } else {
            return run_time_error("a value of type " + type_name(value) +
                                  " cannot be written as JSON");
        }
        return {};
    }

    void begin_item(bool is_first, std::size_t level) {
        if (!is_first) output_ += style_.item_separator;
        break_line(level);
    }

    void break_line(std::size_t level) {
        if (!style_.indent) return;
        output_ += '\n';
        for (std::size_t i = 0; i < level; ++i) output_ += *style_.indent;
    }

    Result<> write_list(const List& items, std::size_t level) {
        output_ += '[';
        bool is_first = true;
        for (const Value& item : items) {
            begin_item(is_first, level);
            is_first = false;
            EXO_TRY(write(item, level + 1));
        }
        if (!is_first) break_line(level - 1);
        output_ += ']';
        return {};
    }

    Result<> write_dict(const Dict& dict, std::size_t level) {
        std::vector<const Dict::Entry*> entries;
        for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
        if (style_.sort_keys) {
            for (const Dict::Entry* entry : entries) {
                if (!entry->first.is(Type::string)) {
                    return run_time_error(
                        "only dictionaries with string keys can be sorted for JSON");
                }
            }
            std::ranges::stable_sort(entries, {},
                                     [](const Dict::Entry* entry) -> const std::string& {
                                         return entry->first.string();
                                     });
        }
        output_ += '{';
        bool is_first = true;
        for (const Dict::Entry* entry : entries) {
            begin_item(is_first, level);
            is_first = false;
            const Value& key = entry->first;
            if (const std::optional<std::string> text = scalar(key)) {
                output_ += '"' + *text + '"';
            } else if (key.is(Type::string)) {
                append_json_string(key.string(), style_.escape, output_);
            } else {
                return run_time_error("a key of type " + type_name(key) +
                                      " cannot be written as JSON");
            }
            output_ += style_.key_separator;
            EXO_TRY(write(entry->second, level + 1));
        }
        if (!is_first) break_line(level - 1);
        output_ += '}';
        return {};
    }

    const JsonStyle& style_;
    std::string output_;
};

}  // namespace

Result<Value> from_json(const Json& json) {
    return convert(json, 1);
}

Result<std::string> to_json(const Value& value, const JsonStyle& style) {
    return Writer(style).run(value);
}

}  // namespace exomesh::model::jinja
