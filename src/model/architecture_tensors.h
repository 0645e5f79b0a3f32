// The second half of read_architecture: the file's tensors against what the metadata implies.
#pragma once

#include "base/result.h"
#include "model/architecture.h"
#include "model/gguf.h"

namespace exomesh::model {

inline constexpr const char* hint_damaged_model =
    "The file is damaged or its converter was wrong: get the model from another source.";

// corrupt_data or unsupported, naming the tensor.
[[nodiscard]] Result<> check_tensors(const Gguf& gguf, const Architecture& architecture);

}  // namespace exomesh::model
