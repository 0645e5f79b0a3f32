// JSON to Values and back: the variables of a template, and the filter tojson.
#pragma once

#include <optional>
#include <string>

#include "model/chat_template.h"
#include "model/jinja_text.h"
#include "model/jinja_value.h"

namespace exomesh::model::jinja {

// An error where the JSON is nested more than value_depth_max deep.
[[nodiscard]] Result<Value> from_json(const Json& json);

// As Python's json.dumps writes it.
struct JsonStyle {
    Escape escape = Escape::only_needed;
    std::optional<std::string> indent = std::nullopt;  // of one level; none: all on one line
    std::string item_separator = ", ";
    std::string key_separator = ": ";
    bool sort_keys = false;
};
[[nodiscard]] Result<std::string> to_json(const Value& value, const JsonStyle& style);

}  // namespace exomesh::model::jinja
