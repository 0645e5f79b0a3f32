// Any bytes as a model file: its header, then the architecture it describes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "model/architecture.h"
#include "model/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto file = std::as_bytes(std::span(data, size));
    const auto gguf = exomesh::model::Gguf::parse(file);
    if (!gguf) {
        EXO_ASSERT(!gguf.error().message.empty());
        return 0;
    }
    for (const auto& tensor : gguf->tensors()) {
        EXO_ASSERT(tensor.offset_bytes <= size && tensor.size_bytes <= size - tensor.offset_bytes);
        EXO_ASSERT(gguf->tensor(tensor.name) == &tensor);
    }
    const auto architecture = exomesh::model::read_architecture(*gguf);
    if (!architecture) {
        EXO_ASSERT(!architecture.error().message.empty());
        return 0;
    }
    EXO_ASSERT(architecture->layer_is_sliding.size() == architecture->layer_count);
    EXO_ASSERT(architecture->query_heads_per_group() > 0);
    for (const auto& expected : exomesh::model::expected_tensors(*architecture)) {
        const auto* tensor = gguf->tensor(expected.name);
        EXO_ASSERT(tensor == nullptr || tensor->element_count() <= tensor->size_bytes * 8);
    }
    return 0;
}
