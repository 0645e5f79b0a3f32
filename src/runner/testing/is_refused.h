// For fuzzers of what ranks say to each other.
#pragma once

#include "base/assert.h"
#include "base/result.h"

namespace exomesh::runner::testing {

// Where bytes are refused, they are so as corrupt data, and with words.
template <typename T>
bool is_refused(const Result<T>& result) {
    if (result) return false;
    EXO_ASSERT(result.error().code == ErrorCode::corrupt_data && !result.error().message.empty());
    return true;
}

}  // namespace exomesh::runner::testing
