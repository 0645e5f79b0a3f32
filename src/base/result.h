// Errors as values. An operating error (a bad file, a lost peer, a full disk) is an Error; a bug is
// an assertion (assert.h). Every Error is written for the person who can act on it: `message` says
// what happened to what, `hint` what to do about it (may be empty).
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace exomesh {

enum class ErrorCode {
    invalid_argument,    // the caller's input is wrong (HTTP 400)
    not_found,           // no such model, file, device (HTTP 404)
    corrupt_data,        // bytes that do not parse: a truncated or damaged file
    unsupported,         // understood, but this build or device cannot do it
    resource_exhausted,  // memory, disk, slots or a named limit (HTTP 429 or 503)
    unavailable,         // a device or peer that is gone or busy (HTTP 503)
    cancelled,           // the one who asked went away
    io,                  // the operating system refused
    internal,            // none of the above (HTTP 500)
};

struct Error {
    ErrorCode code = ErrorCode::internal;
    std::string message;
    std::string hint = {};

    // "message (hint)" on one line, as people see it.
    [[nodiscard]] std::string text() const { return hint.empty() ? message : message + " " + hint; }
};

template <typename T = void>
using Result = std::expected<T, Error>;

[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message,
                                                 std::string hint = {}) {
    return std::unexpected(Error{code, std::move(message), std::move(hint)});
}

}  // namespace exomesh

#define EXO_CONCAT_INNER(a, b) a##b
#define EXO_CONCAT(a, b) EXO_CONCAT_INNER(a, b)

// EXO_TRY(expression): returns the error of a Result<void> expression to the caller.
#define EXO_TRY(expression)                                            \
    do {                                                               \
        if (auto exo_try_result = (expression); !exo_try_result)       \
            return std::unexpected(std::move(exo_try_result).error()); \
    } while (false)

// EXO_TRY_ASSIGN(auto name, expression): name takes the value, or the error returns to the caller.
#define EXO_TRY_ASSIGN(declaration, expression)                                    \
    auto EXO_CONCAT(exo_try_, __LINE__) = (expression);                            \
    if (!EXO_CONCAT(exo_try_, __LINE__))                                           \
        return std::unexpected(std::move(EXO_CONCAT(exo_try_, __LINE__)).error()); \
    declaration = *std::move(EXO_CONCAT(exo_try_, __LINE__))
