#include "model/gguf.h"

#include <gtest/gtest.h>

#include "model/testing/gguf_writer.h"

namespace exomesh::model {
namespace {

using testing::GgufWriter;

TEST(Gguf, reads_back_what_was_written) {
    GgufWriter writer;
    writer.add("a", std::uint32_t{7}).add("b", "text").add("c", std::vector<float>{1.5F});
    const std::vector<std::byte> data(64 * 2 * 4, std::byte{1});
    writer.add_tensor("t", TensorType::f32, {64, 2}, data);
    const auto gguf = Gguf::parse(writer.bytes());
    ASSERT_TRUE(gguf.has_value()) << gguf.error().text();
    EXPECT_EQ(gguf->unsigned_integer("a").value(), 7U);
    EXPECT_EQ(gguf->string("b").value(), "text");
    ASSERT_NE(gguf->numbers("c"), nullptr);
    EXPECT_EQ(*gguf->numbers("c"), std::vector<double>{1.5});
    ASSERT_NE(gguf->tensor("t"), nullptr);
    EXPECT_EQ(gguf->tensor("t")->size_bytes, 512U);
}

}  // namespace
}  // namespace exomesh::model
