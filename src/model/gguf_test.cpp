#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "model/testing/gguf_writer.h"

namespace exomesh::model {
namespace {

using testing::GgufWriter;
using ::testing::HasSubstr;
using Shape = std::vector<std::uint64_t>;

template <typename T>
std::vector<std::byte> bytes_of(T value) {
    std::vector<std::byte> bytes(sizeof(T));
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
}

std::vector<std::byte> operator+(std::vector<std::byte> left, const std::vector<std::byte>& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

std::vector<std::byte> zeros(std::size_t size_bytes) {
    return std::vector<std::byte>(size_bytes);
}

// The file is refused with this code, and the message names what it must.
void expect_refused(const std::vector<std::byte>& file, ErrorCode code, const char* part) {
    const auto gguf = Gguf::parse(file);
    ASSERT_FALSE(gguf) << "accepted; expected: " << part;
    EXPECT_EQ(gguf.error().code, code) << gguf.error().message;
    EXPECT_THAT(gguf.error().message, HasSubstr(part));
}

TEST(Gguf, TypedLookUpsConvertWhatFits) {
    GgufWriter writer;
    writer.add("u8", std::uint8_t{200}).add("i32", std::int32_t{7}).add("negative", -3);
    writer.add("f32", 0.5F).add("yes", true).add("text", "grüß");
    const auto gguf = Gguf::parse(writer.bytes());
    ASSERT_TRUE(gguf) << gguf.error().text();
    EXPECT_EQ(gguf->unsigned_integer("u8").value(), 200U);
    EXPECT_EQ(gguf->unsigned_integer("i32").value(), 7U);
    EXPECT_EQ(gguf->number("u8").value(), 200.0);
    EXPECT_EQ(gguf->number("negative").value(), -3.0);
    EXPECT_EQ(gguf->number("f32").value(), 0.5);
    EXPECT_TRUE(gguf->boolean("yes").value());
    EXPECT_EQ(gguf->string("text").value(), "grüß");
}

TEST(Gguf, TypedLookUpsNameTheKeyTheyMiss) {
    GgufWriter writer;
    writer.add("negative", -3).add("text", "a").add("f32", 1.0F);
    const auto gguf = Gguf::parse(writer.bytes());
    ASSERT_TRUE(gguf);
    EXPECT_EQ(gguf->unsigned_integer("none").error().code, ErrorCode::not_found);
    EXPECT_THAT(gguf->number("none").error().message, HasSubstr("'none'"));
    EXPECT_EQ(gguf->boolean("none").error().code, ErrorCode::not_found);
    EXPECT_EQ(gguf->string("none").error().code, ErrorCode::not_found);
    EXPECT_EQ(gguf->unsigned_integer("negative").error().code, ErrorCode::corrupt_data);
    EXPECT_EQ(gguf->unsigned_integer("f32").error().code, ErrorCode::corrupt_data);
    EXPECT_THAT(gguf->number("text").error().message, HasSubstr("'text' does not hold a number"));
    EXPECT_EQ(gguf->boolean("text").error().code, ErrorCode::corrupt_data);
    EXPECT_EQ(gguf->string("f32").error().code, ErrorCode::corrupt_data);
    EXPECT_EQ(gguf->find("none"), nullptr);
    EXPECT_EQ(gguf->tensor("none"), nullptr);
}

TEST(Gguf, ArraysAreFoundByTheirElementType) {
    GgufWriter writer;
    writer.add("i", std::vector<std::int16_t>{-1, 2}).add("f", std::vector<float>{0.5F});
    writer.add("b", std::vector<bool>{true, false}).add("s", std::vector<std::string>{"", "x"});
    writer.add("scalar", std::uint32_t{1});
    const auto gguf = Gguf::parse(writer.bytes());
    ASSERT_TRUE(gguf) << gguf.error().text();
    ASSERT_NE(gguf->integers("i"), nullptr);
    EXPECT_EQ(*gguf->integers("i"), (std::vector<std::int64_t>{-1, 2}));
    ASSERT_NE(gguf->numbers("f"), nullptr);
    EXPECT_EQ(*gguf->numbers("f"), std::vector<double>{0.5});
    ASSERT_NE(gguf->booleans("b"), nullptr);
    EXPECT_EQ(*gguf->booleans("b"), (std::vector<bool>{true, false}));
    ASSERT_NE(gguf->strings("s"), nullptr);
    EXPECT_EQ(*gguf->strings("s"), (std::vector<std::string>{"", "x"}));
    EXPECT_EQ(gguf->strings("i"), nullptr);
    EXPECT_EQ(gguf->integers("scalar"), nullptr);
    EXPECT_EQ(gguf->integers("none"), nullptr);
}

TEST(Gguf, TensorsAreIndexedWithTheirPlaceInTheFile) {
    GgufWriter writer;
    writer.set_version(2);
    writer.set_alignment(64);
    writer.add("general.alignment", std::uint32_t{64});
    writer.add_tensor("a", TensorType::q4_0, {64, 3}, zeros(3 * 36));
    writer.add_tensor("b", TensorType::f32, {5}, bytes_of(1.0F) + zeros(16));
    const std::vector<std::byte> file = writer.bytes();
    const auto gguf = Gguf::parse(file);
    ASSERT_TRUE(gguf) << gguf.error().text();
    const TensorInfo* matrix = gguf->tensor("a");
    ASSERT_NE(matrix, nullptr);
    EXPECT_EQ(matrix->size_bytes, 108U);
    EXPECT_EQ(matrix->element_count(), 192U);
    EXPECT_EQ(matrix->offset_bytes % 64, 0U);
    const TensorInfo* vector = gguf->tensor("b");
    ASSERT_NE(vector, nullptr);
    EXPECT_EQ(vector->shape, (std::array<std::uint64_t, 4>{5, 1, 1, 1}));
    EXPECT_EQ(vector->offset_bytes, matrix->offset_bytes + 128);
    float first = 0.0F;
    std::memcpy(&first, file.data() + vector->offset_bytes, sizeof(first));
    EXPECT_EQ(first, 1.0F);
}

TEST(Gguf, RefusesWhatIsNoGgufFile) {
    expect_refused({}, ErrorCode::corrupt_data, "truncated: the GGUF magic number at byte 0");
    expect_refused(bytes_of(std::uint32_t{0x04034b50}) + zeros(64), ErrorCode::corrupt_data,
                   "begins with the bytes 50 4b 03 04 instead of \"GGUF\"");
    const auto magic = bytes_of(std::uint32_t{0x46554747});
    expect_refused(magic + bytes_of(std::uint32_t{0x03000000}) + zeros(16), ErrorCode::unsupported,
                   "big-endian");
    expect_refused(magic + bytes_of(std::uint32_t{1}) + zeros(16), ErrorCode::unsupported,
                   "version 1;");
    expect_refused(magic + bytes_of(std::uint32_t{0}) + zeros(16), ErrorCode::unsupported,
                   "version 0;");
    expect_refused(magic + bytes_of(std::uint32_t{4}) + zeros(16), ErrorCode::unsupported,
                   "version 4;");
}

TEST(Gguf, RefusesCountsThatCannotBe) {
    const auto begin = bytes_of(std::uint32_t{0x46554747}) + bytes_of(std::uint32_t{3});
    const auto huge = bytes_of(std::numeric_limits<std::uint64_t>::max());
    const auto zero = bytes_of(std::uint64_t{0});
    expect_refused(begin + huge + zero, ErrorCode::resource_exhausted,
                   "announces 18446744073709551615 tensors");
    expect_refused(begin + zero + huge, ErrorCode::resource_exhausted, "metadata entries");
    expect_refused(begin + bytes_of(std::uint64_t{1000}) + zero, ErrorCode::corrupt_data,
                   "truncated: its header announces 1000 tensors, and only 0 bytes follow");
}

TEST(Gguf, RefusesMetadataThatCannotBe) {
    const auto value = [](std::uint32_t kind, const std::vector<std::byte>& raw) {
        GgufWriter writer;
        return writer.add_raw("key", kind, raw).bytes();
    };
    const auto kind = [](GgufKind name) { return static_cast<std::uint32_t>(name); };
    const auto array = [&](std::uint32_t element_kind, std::uint64_t count) {
        return value(kind(GgufKind::array), bytes_of(element_kind) + bytes_of(count) + zeros(8));
    };
    constexpr auto corrupt = ErrorCode::corrupt_data;
    constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
    expect_refused(value(13, zeros(8)), corrupt, "'key' has the unknown value type 13");
    expect_refused(value(kind(GgufKind::boolean), zeros(0) + bytes_of(std::uint8_t{2})), corrupt,
                   "'key' is 2, not a boolean");
    expect_refused(value(kind(GgufKind::string), bytes_of(huge)), corrupt, "'key' at byte");
    expect_refused(value(kind(GgufKind::u64), zeros(7)), corrupt, "takes 8 bytes and only 7");
    expect_refused(array(99, 1), corrupt, "unknown value type 99");
    expect_refused(array(kind(GgufKind::array), 1), ErrorCode::unsupported, "array of arrays");
    for (std::uint32_t element = 0; element < 13; ++element) {
        if (element == kind(GgufKind::array)) continue;
        expect_refused(array(element, huge), corrupt, "truncated");
        expect_refused(array(element, huge / 4 + 3), corrupt, "truncated");
    }
    GgufWriter large;
    expect_refused(large.add("key", std::vector<std::uint64_t>{huge}).bytes(),
                   ErrorCode::unsupported, "does not fit in 63 bits");
    GgufWriter long_array;
    expect_refused(
        long_array.add("key", std::vector<std::uint8_t>(gguf_array_count_max + 1)).bytes(),
        ErrorCode::resource_exhausted, "'key' is an array of 4194305 elements");
    GgufWriter twice;
    expect_refused(twice.add("key", 1).add("key", 2).bytes(), corrupt, "'key' occurs twice");
    GgufWriter long_name;
    expect_refused(long_name.add(std::string(gguf_name_bytes_max + 1, 'k'), 1).bytes(),
                   ErrorCode::corrupt_data, "the key of metadata entry 0 is 65537 bytes");
}

TEST(Gguf, MessagesShowNamesSafely) {
    GgufWriter writer;
    const std::string name = "evil\x1b[31m\n" + std::string(300, 'x');
    const auto gguf = Gguf::parse(writer.add(name, 1).add(name, 2).bytes());
    ASSERT_FALSE(gguf);
    EXPECT_THAT(gguf.error().message, HasSubstr("'evil?[31m?xxx"));
    EXPECT_LT(gguf.error().message.size(), 160U);
}

TEST(Gguf, RefusesTensorsThatCannotBe) {
    const auto file = [](std::uint32_t type, const Shape& shape, std::uint64_t offset_bytes = 0) {
        GgufWriter writer;
        writer.add_raw_tensor("t", type, shape, offset_bytes);
        auto bytes = writer.bytes();
        bytes.resize(bytes.size() + 256);
        return bytes;
    };
    constexpr auto corrupt = ErrorCode::corrupt_data;
    constexpr std::uint64_t huge = std::uint64_t{1} << 62;
    expect_refused(file(0, {}), corrupt, "'t' has 0 dimensions");
    expect_refused(file(0, {1, 1, 1, 1, 1}), corrupt, "'t' has 5 dimensions");
    expect_refused(file(0, {4, 0}), corrupt, "'t': dimension 1 is zero");
    expect_refused(file(0, {huge, 8}), corrupt, "'t': its shape overflows");
    expect_refused(file(0, {huge}), corrupt, "'t': its size overflows");
    expect_refused(file(19, {256}), ErrorCode::unsupported, "'t' has the type number 19");
    expect_refused(file(4, {256}), ErrorCode::unsupported, "'t' has the type number 4");
    expect_refused(file(2, {48, 2}), corrupt, "48 elements are no multiple of q4_0's block of 32");
    expect_refused(file(0, {4}, 16), corrupt, "'t' lies at byte 16 of the data, not aligned to 32");
    expect_refused(file(0, {65}), corrupt, "tensor 't' takes 260 bytes from byte 0 of the data");
    expect_refused(file(0, {1}, 288), corrupt, "truncated: tensor 't'");
    expect_refused(file(0, {1}, ~std::uint64_t{31}), corrupt, "truncated: tensor 't'");
    EXPECT_TRUE(Gguf::parse(file(0, {64})));
}

TEST(Gguf, RefusesTensorsThatCollide) {
    const std::vector<std::uint64_t> shape = {16};
    GgufWriter twice;
    twice.add_tensor("t", TensorType::f32, shape, zeros(64));
    twice.add_tensor("t", TensorType::f32, shape, zeros(64));
    expect_refused(twice.bytes(), ErrorCode::corrupt_data, "tensor 't' occurs twice");
    GgufWriter overlap;
    overlap.add_tensor("late", TensorType::f32, shape, zeros(64));
    overlap.add_raw_tensor("early", 0, shape, 32);
    auto file = overlap.bytes();
    file.resize(file.size() + 256);
    expect_refused(file, ErrorCode::corrupt_data, "the tensors 'late' and 'early' overlap");
}

TEST(Gguf, RefusesAlignmentsThatCannotBe) {
    for (const std::uint32_t alignment_bytes : {0U, 3U, 48U, 1U << 21}) {
        GgufWriter writer;
        writer.add("general.alignment", alignment_bytes);
        expect_refused(writer.bytes(), ErrorCode::corrupt_data, "general.alignment is");
    }
    GgufWriter text;
    text.add("general.alignment", "32");
    expect_refused(text.bytes(), ErrorCode::corrupt_data, "'general.alignment' does not hold");
}

TEST(TensorType, NumbersAndTraitsAgree) {
    EXPECT_FALSE(tensor_type_traits(std::uint32_t{4}));
    EXPECT_FALSE(tensor_type_traits(std::uint32_t{1000}));
    for (const TensorTypeTraits& traits : tensor_types()) {
        EXPECT_EQ(tensor_type_traits(traits.type).name, traits.name);
        EXPECT_EQ(tensor_type_traits(static_cast<std::uint32_t>(traits.type))->block_bytes,
                  traits.block_bytes);
    }
    EXPECT_EQ(tensor_type_traits(TensorType::q4_k).name, "q4_K");
    EXPECT_EQ(tensor_type_traits(TensorType::q4_k).block_bytes, 144U);
}

}  // namespace
}  // namespace exomesh::model
