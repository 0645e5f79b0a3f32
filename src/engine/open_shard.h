// Opens a whole model on the device that options ask for, or on the CPU where a chosen-by-itself
// device cannot take it.
#pragma once

#include <memory>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "engine/shard.h"

namespace exomesh::engine {

struct OpenedShard {
    std::unique_ptr<StepExecutor> shard;
    EngineInformation information;
};

// Positions per slot that the options ask for. invalid_argument: more than the model was trained
// for, unless the options allow it.
[[nodiscard]] Result<std::uint32_t> choose_context_length(const EngineOptions& options,
                                                          const model::Architecture& architecture);

// `file` must outlive the shard. On the CPU the shard belongs to the calling thread (see Shard).
// invalid_argument: a context longer than the model was trained for, unless options allow it.
[[nodiscard]] Result<OpenedShard> open_shard(const ModelFile& file, const EngineOptions& options);

}  // namespace exomesh::engine
