// Is the file a worker has the file the head means?
#pragma once

#include <string>

#include "base/result.h"
#include "engine/model_file.h"
#include "runner/messages.h"

namespace exomesh::runner {

// Hex SHA-256 of everything before the weights: names, shapes, types and offsets of all tensors,
// and the tokenizer. The weights' own bytes are too many to hash at every start.
[[nodiscard]] std::string model_checksum(const engine::ModelFile& model);

// `path` is where the model was found. invalid_argument where size or checksum are not those of the
// request.
[[nodiscard]] Result<void> check_model(const engine::ModelFile& model, const std::string& path,
                                       const LoadRequest& request);

}  // namespace exomesh::runner
