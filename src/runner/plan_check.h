// Can the plan a head sends be carried out? A worker asks before it loads anything.
#pragma once

#include "base/result.h"
#include "engine/model_file.h"
#include "runner/messages.h"

namespace exomesh::runner {

// invalid_argument: stages that do not follow on each other, slices the model cannot be cut into,
// or an order for a head.
[[nodiscard]] Result<void> check_plan(const engine::ModelFile& model, const LoadRequest& request);

}  // namespace exomesh::runner
