// What of a device's self-test a model needs: it must not wait for shaders of types it has not.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/model_file.h"

namespace exomesh::engine {

// Groups of the self-test (device/self_tester.h): the operations of every model, the products of
// the weight types in this file, and the KV cache's type.
[[nodiscard]] std::vector<std::string> self_test_groups_for(const ModelFile& file,
                                                            CacheType cache_type);

}  // namespace exomesh::engine
