#include "engine/affine_split.h"

#include <ggml-cpp.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "device/compute.h"
#include "device/device.h"

namespace exomesh::engine {
namespace {

struct Case {
    std::int64_t columns, rows, tokens;
    std::uint32_t threads;
};

void PrintTo(const Case& value, std::ostream* out) {
    *out << value.columns << "x" << value.rows << " for " << value.tokens << " tokens on "
         << value.threads << " threads";
}

class AffineSplit : public ::testing::TestWithParam<Case> {};

std::vector<float> random_values(std::mt19937& random, std::int64_t count, float mean) {
    std::normal_distribution<float> normal(mean, 1.0F);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(random);
    return values;
}

// What ggml says the Q4_1 bytes mean, multiplied in double precision: the whole of it, and the size
// of its terms, against which errors are measured.
struct Exact {
    std::vector<double> products, magnitudes;
};

Exact multiply(const std::vector<float>& weights, const std::vector<float>& states,
               const Case& shape) {
    Exact out;
    for (std::int64_t token = 0; token < shape.tokens; ++token) {
        for (std::int64_t row = 0; row < shape.rows; ++row) {
            double sum = 0;
            double magnitude = 0;
            for (std::int64_t column = 0; column < shape.columns; ++column) {
                const double term =
                    static_cast<double>(
                        weights[static_cast<std::size_t>(row * shape.columns + column)]) *
                    states[static_cast<std::size_t>(token * shape.columns + column)];
                sum += term;
                magnitude += term * term;
            }
            out.products.push_back(sum);
            out.magnitudes.push_back(std::sqrt(magnitude));
        }
    }
    return out;
}

// The split parts, computed by ggml: a Q4_0 matrix and the offsets beside it.
std::vector<float> multiply_split(const std::vector<std::byte>& q4_1,
                                  const std::vector<float>& states, const Case& shape) {
    auto device = device::DeviceRegistry::instance().cpu();
    EXPECT_TRUE(device.has_value());
    auto compute = device::Compute::create(*device, {.thread_count = shape.threads});
    EXPECT_TRUE(compute.has_value());
    const ggml_context_ptr context(
        ggml_init({.mem_size = std::size_t{64} << 20U, .mem_buffer = nullptr, .no_alloc = false}));
    ggml_tensor* matrix =
        ggml_new_tensor_2d(context.get(), GGML_TYPE_Q4_0, shape.columns, shape.rows);
    ggml_tensor* offsets = ggml_new_tensor_3d(context.get(), GGML_TYPE_F16, offset_tile_rows,
                                              shape.columns / 32, shape.rows / offset_tile_rows);
    ggml_tensor* inputs =
        ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, shape.columns, shape.tokens);
    split_q4_1(q4_1, static_cast<std::uint64_t>(shape.columns),
               static_cast<std::uint64_t>(shape.rows),
               {static_cast<std::byte*>(matrix->data), ggml_nbytes(matrix)},
               {static_cast<std::uint16_t*>(offsets->data),
                static_cast<std::size_t>(ggml_nelements(offsets))});
    std::memcpy(inputs->data, states.data(), ggml_nbytes(inputs));
    ggml_tensor* result =
        add_offsets(context.get(), ggml_mul_mat(context.get(), matrix, inputs), inputs, offsets);
    ggml_cgraph* graph = ggml_new_graph(context.get());
    ggml_build_forward_expand(graph, result);
    EXPECT_TRUE(compute->compute(graph).has_value());
    const auto* values = static_cast<const float*>(result->data);
    return {values, values + ggml_nelements(result)};
}

TEST_P(AffineSplit, gives_what_the_format_means) {
    const Case shape = GetParam();
    std::mt19937 random(7);
    // A mean beside zero makes the offsets matter.
    const std::vector<float> source = random_values(random, shape.columns * shape.rows, 0.5F);
    const std::vector<float> states = random_values(random, shape.columns * shape.tokens, 0.3F);
    std::vector<std::byte> q4_1(ggml_row_size(GGML_TYPE_Q4_1, shape.columns) *
                                static_cast<std::size_t>(shape.rows));
    ggml_quantize_chunk(GGML_TYPE_Q4_1, source.data(), q4_1.data(), 0, shape.rows, shape.columns,
                        nullptr);
    std::vector<float> meant(source.size());
    ggml_get_type_traits(GGML_TYPE_Q4_1)
        ->to_float(q4_1.data(), meant.data(), shape.columns * shape.rows);

    const Exact exact = multiply(meant, states, shape);
    const std::vector<float> split = multiply_split(q4_1, states, shape);
    ASSERT_EQ(split.size(), exact.products.size());
    double square_error = 0;
    for (std::size_t i = 0; i < split.size(); ++i) {
        const double error = (split[i] - exact.products[i]) / exact.magnitudes[i];
        square_error += error * error;
        EXPECT_LT(std::abs(error), 0.03) << "value " << i;  // 8-bit activations
    }
    EXPECT_LT(std::sqrt(square_error / static_cast<double>(split.size())), 0.007);
}

INSTANTIATE_TEST_SUITE_P(shapes, AffineSplit,
                         ::testing::Values(Case{32, 32, 1, 1}, Case{64, 96, 3, 2},
                                           Case{576, 960, 1, 2}, Case{576, 960, 4, 1},
                                           Case{576, 64, 9, 3}, Case{1536, 576, 2, 4},
                                           Case{96, 32, 130, 5}));

}  // namespace
}  // namespace exomesh::engine
