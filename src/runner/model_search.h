// Finds the head's model on a worker's own disk, where it may lie at another path.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/model_file.h"
#include "runner/messages.h"

namespace exomesh::runner {

// The first of these that is the head's model, by its size and checksum: each of `places`, itself a
// file or a folder with a file of the head's name, and then the head's own path. not_found: there
// is none at all, with the paths that were looked at. invalid_argument: what is there is another
// model; else why a file could not be read.
[[nodiscard]] Result<std::unique_ptr<const engine::ModelFile>> find_model(
    const LoadRequest& request, const std::vector<std::string>& places);

}  // namespace exomesh::runner
