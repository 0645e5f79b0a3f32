// Reading a JSON request body: first the text (with limits), then its fields one by one, with
// messages that name the field and what it may be.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "api/errors.h"

namespace exomesh::api {

// An object, or 400 with line and column. Depth and numbers of values and keys are limited before
// anything is allocated for them (limits.h).
[[nodiscard]] ApiResult<Json> parse_json_object(std::string_view body);

// Reads the fields of one object. A field that is absent or null leaves the target as it is. The
// first error is kept and later reads do nothing, so a caller reads all it wants and asks once.
class FieldReader {
  public:
    // `path` names the object in messages: "" for the body, "messages[2]" inside. `object` must
    // outlive the reader.
    FieldReader(const Json& object, std::string path);

    void boolean(std::string_view field, bool& target);
    void number(std::string_view field, double minimum, double maximum, float& target);
    void integer(std::string_view field, std::int64_t minimum, std::int64_t maximum,
                 std::int64_t& target);
    void integer(std::string_view field, std::int64_t minimum, std::int64_t maximum,
                 std::optional<std::int64_t>& target);
    void string(std::string_view field, std::string& target);

    // The value where it is present and not null.
    [[nodiscard]] const Json* find(std::string_view field) const;

    // Refuses a field of a feature that is not there, unless it is absent or has one of the
    // harmless values (null, false, an empty list and an empty object always are).
    void unsupported(std::string_view field, std::string_view why,
                     std::initializer_list<Json> harmless = {});

    [[nodiscard]] std::string path_of(std::string_view field) const;
    void keep(ApiError error);
    [[nodiscard]] const std::optional<ApiError>& error() const { return error_; }
    [[nodiscard]] ApiResult<> result() const;

  private:
    const Json* object_;
    std::string path_;
    std::optional<ApiError> error_;
};

// "a string", "an integer", ...: what a value is, for messages.
[[nodiscard]] std::string_view kind_of(const Json& value);

}  // namespace exomesh::api
