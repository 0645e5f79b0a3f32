// What a head orders: who computes which part of the model, and how.
#pragma once

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "runner/cluster.h"
#include "runner/messages.h"

namespace exomesh::runner {

// As the head needs it; each worker's differs in rank, device and threads. The link figures are not
// measured yet. invalid_argument: the model cannot be cut like this, or what ranks have to tell
// each other does not fit into a message.
[[nodiscard]] Result<LoadRequest> make_cluster_plan(const engine::ModelFile& model,
                                                    const engine::EngineOptions& options,
                                                    const ClusterOptions& cluster);

}  // namespace exomesh::runner
