#include "engine/self_test_needs.h"

#include <set>

#include "device/self_tester.h"
#include "engine/kv_cache.h"

namespace exomesh::engine {

std::vector<std::string> self_test_groups_for(const ModelFile& file, CacheType cache_type) {
    std::set<std::string> products;
    for (const model::TensorInfo& tensor : file.gguf.tensors()) {
        const auto type = static_cast<ggml_type>(tensor.type);
        if (tensor.shape[2] > 1) {
            products.insert(device::expert_products_group(type));
        } else if (tensor.shape[1] > 1) {
            products.insert(device::products_group(type));
        }
    }
    std::vector<std::string> groups = {std::string(device::operations_group),
                                       device::cache_group(ggml_type_of(cache_type))};
    groups.insert(groups.end(), products.begin(), products.end());
    return groups;
}

}  // namespace exomesh::engine
