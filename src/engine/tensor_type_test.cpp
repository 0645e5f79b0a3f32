// model/ may not depend on ggml, so its table of tensor types is compared with ggml's here.
#include "model/tensor_type.h"

#include <ggml.h>
#include <gtest/gtest.h>

namespace exomesh::engine {
namespace {

TEST(TensorType, TableIsGgmls) {
    ASSERT_FALSE(model::tensor_types().empty());
    for (const model::TensorTypeTraits& traits : model::tensor_types()) {
        const auto type = static_cast<ggml_type>(traits.type);
        EXPECT_EQ(traits.name, ggml_type_name(type));
        EXPECT_EQ(traits.block_count, ggml_blck_size(type)) << traits.name;
        EXPECT_EQ(traits.block_bytes, ggml_type_size(type)) << traits.name;
    }
}

}  // namespace
}  // namespace exomesh::engine
