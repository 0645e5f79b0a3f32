// What is written is read back, and damaged files are refused or read, never more than that: run
// under the preset asan-ubsan these show that no damage reads or writes out of bounds.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

#include "model/architecture.h"
#include "model/gguf.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/tiny_model.h"

namespace exomesh::model {
namespace {

using testing::GgufWriter;
using Random = std::mt19937_64;

std::string random_text(Random& random, std::size_t size_max) {
    std::string text(random() % (size_max + 1), '\0');
    for (char& character : text) character = static_cast<char>(random());
    return text;
}

// A value of T together with what it must be after parsing.
template <typename T>
struct Sample {
    std::vector<T> values;

    explicit Sample(Random& random) : values(1 + random() % 8) {
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = one(random);
    }
    static T one(Random& random) {
        if constexpr (std::is_same_v<T, bool>) {
            return random() % 2 == 1;
        } else if constexpr (std::is_same_v<T, std::string>) {
            return random_text(random, 40);
        } else if constexpr (std::is_floating_point_v<T>) {
            return static_cast<T>(static_cast<double>(random() >> 11) * 0x1.0p-53 - 0.5);
        } else {
            switch (random() % 4) {
                case 0:
                    return std::numeric_limits<T>::max();
                case 1:
                    return std::numeric_limits<T>::min();
                default:
                    return static_cast<T>(random());
            }
        }
    }
};

template <typename T>
GgufValue scalar_as_parsed(const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
        return value;
    } else if constexpr (std::is_floating_point_v<T>) {
        return static_cast<double>(value);
    } else if constexpr (std::is_unsigned_v<T>) {
        return static_cast<std::uint64_t>(value);
    } else {
        return static_cast<std::int64_t>(value);
    }
}

template <typename T>
auto array_as_parsed(const std::vector<T>& values) {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
        return values;
    } else if constexpr (std::is_floating_point_v<T>) {
        return std::vector<double>(values.begin(), values.end());
    } else {
        std::vector<std::int64_t> wide;
        for (const T value : values) wide.push_back(static_cast<std::int64_t>(value));
        return wide;
    }
}

bool equal(const GgufValue& left, const GgufValue& right) {
    if (left.index() != right.index()) return false;
    if (const auto* array = std::get_if<GgufArray>(&left)) {
        return array->values == std::get<GgufArray>(right).values;
    }
    return std::visit(
        [&]<typename T>(const T& value) {
            if constexpr (std::is_same_v<T, GgufArray>) {
                return false;
            } else {
                return value == std::get<T>(right);
            }
        },
        left);
}

class RandomFile {
  public:
    explicit RandomFile(std::uint64_t seed) : random_(seed) {
        if (random_() % 2 == 0) {
            const std::uint32_t alignment_bytes = 8U << (random_() % 5);
            writer.set_alignment(alignment_bytes);
            writer.add("general.alignment", alignment_bytes);
            metadata["general.alignment"] = std::uint64_t{alignment_bytes};
        }
        const std::size_t count = random_() % 30;
        for (std::size_t i = 0; i < count; ++i) add_metadata(i);
        const std::size_t tensor_count = random_() % 8;
        for (std::size_t i = 0; i < tensor_count; ++i) add_tensor(i);
    }

    GgufWriter writer;
    std::map<std::string, GgufValue> metadata;
    struct Tensor {
        TensorInfo info;
        std::vector<std::byte> data;
    };
    std::vector<Tensor> tensors;

  private:
    template <typename T>
    void add(const std::string& key) {
        const Sample<T> sample(random_);
        const T first = sample.values.front();
        if (random_() % 2 == 0) {
            writer.add(key, first);
            metadata[key] = scalar_as_parsed<T>(first);
            return;
        }
        std::vector<T> values = sample.values;
        if constexpr (std::is_same_v<T, std::uint64_t>) {
            for (std::uint64_t& value : values) value >>= 1;  // arrays hold 63 bits
        }
        if (random_() % 8 == 0) values.clear();
        writer.add(key, values);
        metadata[key] = GgufArray{array_as_parsed(values)};
    }

    void add_metadata(std::size_t index) {
        const std::string key = std::to_string(index) + random_text(random_, 20);
        switch (random_() % 12) {
            case 0:
                return add<std::uint8_t>(key);
            case 1:
                return add<std::int8_t>(key);
            case 2:
                return add<std::uint16_t>(key);
            case 3:
                return add<std::int16_t>(key);
            case 4:
                return add<std::uint32_t>(key);
            case 5:
                return add<std::int32_t>(key);
            case 6:
                return add<std::uint64_t>(key);
            case 7:
                return add<std::int64_t>(key);
            case 8:
                return add<float>(key);
            case 9:
                return add<double>(key);
            case 10:
                return add<bool>(key);
            default:
                return add<std::string>(key);
        }
    }

    void add_tensor(std::size_t index) {
        const auto types = tensor_types();
        const TensorTypeTraits traits = types[random_() % types.size()];
        std::vector<std::uint64_t> shape(1 + random_() % 4);
        for (std::uint64_t& size : shape) size = 1 + random_() % 4;
        shape[0] *= traits.block_count;
        Tensor tensor{.info = {.name = std::to_string(index) + random_text(random_, 20),
                               .type = traits.type,
                               .size_bytes = testing::tensor_size_bytes(traits.type, shape)},
                      .data = {}};
        std::ranges::copy(shape, tensor.info.shape.begin());
        tensor.data.resize(tensor.info.size_bytes);
        for (std::byte& byte : tensor.data) byte = static_cast<std::byte>(random_());
        writer.add_tensor(tensor.info.name, traits.type, shape, tensor.data);
        tensors.push_back(std::move(tensor));
    }

    Random random_;
};

TEST(GgufProperty, WhatIsWrittenIsReadBack) {
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
        const RandomFile random_file(seed);
        const std::vector<std::byte> file = random_file.writer.bytes();
        const auto gguf = Gguf::parse(file);
        ASSERT_TRUE(gguf) << "seed " << seed << ": " << gguf.error().text();
        ASSERT_EQ(gguf->metadata().size(), random_file.metadata.size()) << "seed " << seed;
        for (const auto& [key, value] : random_file.metadata) {
            const GgufValue* found = gguf->find(key);
            ASSERT_NE(found, nullptr) << "seed " << seed;
            ASSERT_TRUE(equal(*found, value)) << "seed " << seed << ", key " << key;
        }
        ASSERT_EQ(gguf->tensors().size(), random_file.tensors.size()) << "seed " << seed;
        for (const auto& [info, data] : random_file.tensors) {
            const TensorInfo* found = gguf->tensor(info.name);
            ASSERT_NE(found, nullptr) << "seed " << seed;
            ASSERT_EQ(found->type, info.type) << "seed " << seed;
            ASSERT_EQ(found->shape, info.shape) << "seed " << seed;
            ASSERT_EQ(found->size_bytes, data.size()) << "seed " << seed;
            ASSERT_EQ(std::memcmp(file.data() + found->offset_bytes, data.data(), data.size()), 0)
                << "seed " << seed;
        }
    }
}

TEST(GgufProperty, EveryTruncationIsRefused) {
    for (const std::uint64_t seed : {3U, 5U, 8U}) {
        std::vector<std::byte> file;
        for (std::uint64_t more = seed; file.size() < 400 || file.size() > 8000; more += 10) {
            file = RandomFile(more).writer.bytes();
        }
        const auto whole = Gguf::parse(file);
        ASSERT_TRUE(whole);
        // The padding behind the last tensor may be missing.
        std::uint64_t end_bytes = whole->tensors().empty() ? file.size() : 0;
        for (const TensorInfo& tensor : whole->tensors()) {
            end_bytes = std::max(end_bytes, tensor.offset_bytes + tensor.size_bytes);
        }
        for (std::size_t size = 0; size < end_bytes; ++size) {
            // A copy of exactly this size, so that a read behind its end is seen.
            const std::vector<std::byte> part(file.begin(),
                                              file.begin() + static_cast<std::ptrdiff_t>(size));
            const auto gguf = Gguf::parse(part);
            ASSERT_FALSE(gguf) << size << " of " << file.size() << " bytes were accepted";
            ASSERT_EQ(gguf.error().code, ErrorCode::corrupt_data) << gguf.error().text();
        }
    }
}

// Flips every bit in front of the tensors' data, then reads what can still be read.
TEST(GgufProperty, EveryFlippedBitIsRefusedOrRead) {
    const testing::TinyModel model{.family = "phi3",
                                   .layer_count = 1,
                                   .embedding_length = 32,
                                   .feed_forward_length = 32,
                                   .head_count = 2,
                                   .key_value_head_count = 1,
                                   .vocabulary_size = 8,
                                   .has_rope_factors = true};
    std::vector<std::byte> file = testing::tiny_model(model).bytes();
    const auto whole = Gguf::parse(file);
    ASSERT_TRUE(whole) << whole.error().text();
    ASSERT_TRUE(read_architecture(*whole)) << read_architecture(*whole).error().text();
    std::uint64_t header_bytes = file.size();
    for (const TensorInfo& tensor : whole->tensors()) {
        header_bytes = std::min(header_bytes, tensor.offset_bytes);
    }
    std::size_t refused_count = 0;
    std::size_t read_count = 0;
    for (std::size_t bit = 0; bit < header_bytes * 8; ++bit) {
        const auto mask = static_cast<std::byte>(1U << (bit % 8));
        file[bit / 8] ^= mask;
        const auto gguf = Gguf::parse(file);
        const auto architecture =
            gguf ? read_architecture(*gguf) : Result<Architecture>(std::unexpected(gguf.error()));
        if (architecture) {
            ++read_count;
            EXPECT_GT(architecture->layer_count, 0U);
        } else {
            ++refused_count;
            EXPECT_FALSE(architecture.error().message.empty());
        }
        file[bit / 8] ^= mask;
    }
    // Most bits matter; those of the model's name and of numbers nothing is checked against do not.
    EXPECT_GT(refused_count, header_bytes * 8 * 3 / 4);
    EXPECT_GT(read_count, 0U);
}

}  // namespace
}  // namespace exomesh::model
