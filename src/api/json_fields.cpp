#include "api/json_fields.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <format>
#include <utility>

#include "api/limits.h"

namespace exomesh::api {

namespace {

// Checks nesting, the number of values and that of an object's keys without building any: a few
// bytes of text can otherwise become many bytes of memory, or take minutes.
ApiResult<> check_size(std::string_view body) {
    std::size_t depth = 0;
    std::array<std::size_t, json_depth_max + 1> key_counts{};  // of the open object at each depth
    std::size_t separator_count = 0;
    bool inside_string = false;
    for (std::size_t i = 0; i < body.size(); ++i) {
        const char byte = body[i];
        if (inside_string) {
            if (byte == '\\') ++i;
            if (byte == '"') inside_string = false;
            continue;
        }
        if (byte == '"') inside_string = true;
        if (byte == '[' || byte == '{') ++depth;
        if ((byte == ']' || byte == '}') && depth > 0) --depth;
        if (byte == ',' || byte == ':' || byte == '[') ++separator_count;
        if (depth > json_depth_max) {
            return refuse(
                "", std::format("the JSON body is nested deeper than {} levels.", json_depth_max));
        }
        if (byte == '{') key_counts[depth] = 0;
        if (byte == ':' && ++key_counts[depth] > json_key_count_max) {
            return refuse("", std::format("an object of the JSON body has more than {} keys.",
                                          json_key_count_max));
        }
    }
    if (separator_count > json_value_count_max) {
        return refuse("",
                      std::format("the JSON body has more than {} values.", json_value_count_max));
    }
    return {};
}

// nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 2: what happened".
std::string without_prefix(std::string_view text) {
    if (const std::size_t end = text.find("] "); end != std::string_view::npos) {
        text.remove_prefix(end + 2);
    }
    return std::string(text);
}

std::string range_text(double minimum, double maximum) {
    return std::format("from {} to {}", minimum, maximum);
}

}  // namespace

std::string_view kind_of(const Json& value) {
    switch (value.type()) {
        case Json::value_t::null:
            return "null";
        case Json::value_t::boolean:
            return "a boolean";
        case Json::value_t::number_integer:
        case Json::value_t::number_unsigned:
            return "an integer";
        case Json::value_t::number_float:
            return "a number";
        case Json::value_t::string:
            return "a string";
        case Json::value_t::array:
            return "a list";
        case Json::value_t::object:
            return "an object";
        case Json::value_t::binary:
        case Json::value_t::discarded:
            break;
    }
    return "nothing";
}

ApiResult<Json> parse_json_object(std::string_view body) {
    if (body.empty()) return refuse("", "the body is empty; a JSON object was expected.");
    if (auto size = check_size(body); !size) return std::unexpected(std::move(size).error());
    try {
        Json json = Json::parse(body);
        if (!json.is_object()) {
            return refuse(
                "", std::format("the body is {}; a JSON object was expected.", kind_of(json)));
        }
        return json;
    } catch (const Json::exception& exception) {
        return refuse("", "the body is not valid JSON: " + without_prefix(exception.what()));
    }
}

FieldReader::FieldReader(const Json& object, std::string path)
    : object_(&object), path_(std::move(path)) {}

const Json* FieldReader::find(std::string_view field) const {
    const auto found = object_->find(field);
    return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::string FieldReader::path_of(std::string_view field) const {
    return path_.empty() ? std::string(field) : std::format("{}.{}", path_, field);
}

void FieldReader::keep(ApiError error) {
    if (!error_) error_ = std::move(error);
}

ApiResult<> FieldReader::result() const {
    if (error_) return std::unexpected(*error_);
    return {};
}

void FieldReader::boolean(std::string_view field, bool& target) {
    const Json* value = find(field);
    if (error_ || value == nullptr) return;
    if (value->is_boolean()) {
        target = value->get<bool>();
        return;
    }
    const std::string path = path_of(field);
    keep(refuse(path, std::format("{}: expected true or false, not {}.", path, kind_of(*value)))
             .error());
}

void FieldReader::number(std::string_view field, double minimum, double maximum, float& target) {
    const Json* value = find(field);
    if (error_ || value == nullptr) return;
    const std::string path = path_of(field);
    const std::string range = range_text(minimum, maximum);
    if (!value->is_number()) {
        keep(refuse(path,
                    std::format("{}: expected a number {}, not {}.", path, range, kind_of(*value)))
                 .error());
        return;
    }
    const auto read = value->get<double>();
    if (!(read >= minimum && read <= maximum)) {
        keep(refuse(path, std::format("{}: {} is out of range; it may be {}.", path, read, range))
                 .error());
        return;
    }
    target = static_cast<float>(read);
}

void FieldReader::integer(std::string_view field, std::int64_t minimum, std::int64_t maximum,
                          std::int64_t& target) {
    const Json* value = find(field);
    if (error_ || value == nullptr) return;
    const std::string path = path_of(field);
    const std::string range = std::format("from {} to {}", minimum, maximum);
    if (!value->is_number_integer()) {
        keep(refuse(path, std::format("{}: expected an integer {}, not {}.", path, range,
                                      kind_of(*value)))
                 .error());
        return;
    }
    // Unsigned values above the signed range would turn negative.
    const bool too_large = value->is_number_unsigned() &&
                           value->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
    const auto read = too_large ? INT64_MAX : value->get<std::int64_t>();
    if (too_large || read < minimum || read > maximum) {
        keep(refuse(path, std::format("{}: {} is out of range; it may be {}.", path, value->dump(),
                                      range))
                 .error());
        return;
    }
    target = read;
}

void FieldReader::integer(std::string_view field, std::int64_t minimum, std::int64_t maximum,
                          std::optional<std::int64_t>& target) {
    if (find(field) == nullptr) return;
    std::int64_t read = 0;
    integer(field, minimum, maximum, read);
    if (!error_) target = read;
}

void FieldReader::string(std::string_view field, std::string& target) {
    const Json* value = find(field);
    if (error_ || value == nullptr) return;
    if (value->is_string()) {
        target = value->get_ref<const std::string&>();
        return;
    }
    const std::string path = path_of(field);
    keep(
        refuse(path, std::format("{}: expected a string, not {}.", path, kind_of(*value))).error());
}

void FieldReader::unsupported(std::string_view field, std::string_view why,
                              std::initializer_list<Json> harmless) {
    const Json* value = find(field);
    if (error_ || value == nullptr) return;
    if (value->is_boolean() && !value->get<bool>()) return;
    if (value->is_structured() && value->empty()) return;
    if (std::ranges::find(harmless, *value) != harmless.end()) return;
    keep(refuse_unsupported(path_of(field), std::format("{}: {}", path_of(field), why)).error());
}

}  // namespace exomesh::api
