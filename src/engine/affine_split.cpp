#include "engine/affine_split.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exomesh::engine {

namespace {

constexpr std::size_t block_columns = 32;
constexpr std::size_t nibble_bytes = block_columns / 2;
constexpr std::size_t q4_1_block_bytes = 2 + 2 + nibble_bytes;
constexpr std::size_t q4_0_block_bytes = 2 + nibble_bytes;
// Tokens whose sums stay on the stack and share one pass over the offsets.
constexpr std::int64_t token_group = 4;
constexpr std::size_t block_count_max = split_columns_max / block_columns;

using BlockSums = std::array<std::array<float, block_count_max>, token_group>;

float load_f16(const std::byte* source) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, source, sizeof bits);
    return ggml_fp16_to_fp32(bits);
}

[[gnu::always_inline]] inline void sum_blocks_of(const float* states, std::size_t block_count,
                                                 float* sums) {
    for (std::size_t block = 0; block < block_count; ++block) {
        // Eight partial sums, so that the compiler may use vectors.
        std::array<float, 8> partial{};
        for (std::size_t i = 0; i < block_columns; ++i) {
            partial[i % 8] += states[block * block_columns + i];
        }
        sums[block] = ((partial[0] + partial[4]) + (partial[1] + partial[5])) +
                      ((partial[2] + partial[6]) + (partial[3] + partial[7]));
    }
}

void sum_blocks(const float* states, std::size_t block_count, float* sums) {
    sum_blocks_of(states, block_count, sums);
}

// One tile of offset_tile_rows rows for one token: product[row] += sum_b offsets[b][row] * sums[b].
void add_tile(const std::uint16_t* offsets, std::size_t block_count, const float* sums,
              float* product) {
    std::array<float, offset_tile_rows> total{};
    for (std::size_t block = 0; block < block_count; ++block) {
        for (std::size_t row = 0; row < offset_tile_rows; ++row) {
            total[row] += ggml_fp16_to_fp32(offsets[block * offset_tile_rows + row]) * sums[block];
        }
    }
    for (std::size_t row = 0; row < offset_tile_rows; ++row) product[row] += total[row];
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma,f16c"))) void sum_blocks_avx2(const float* states,
                                                              std::size_t block_count,
                                                              float* sums) {
    sum_blocks_of(states, block_count, sums);
}

// The order of additions is that of add_tile, so both give the same but for fused rounding.
__attribute__((target("avx2,fma,f16c"))) void add_tile_avx2(const std::uint16_t* offsets,
                                                            std::size_t block_count,
                                                            const float* sums, float* product) {
    constexpr std::size_t lanes = 8;
    __m256 total[offset_tile_rows / lanes] = {};
    for (std::size_t block = 0; block < block_count; ++block) {
        const __m256 sum = _mm256_set1_ps(sums[block]);
        for (std::size_t part = 0; part < offset_tile_rows / lanes; ++part) {
            const auto* source =
                reinterpret_cast<const __m128i*>(offsets + block * offset_tile_rows + part * lanes);
            total[part] =
                _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128(source)), sum, total[part]);
        }
    }
    for (std::size_t part = 0; part < offset_tile_rows / lanes; ++part) {
        float* target = product + part * lanes;
        _mm256_storeu_ps(target, _mm256_add_ps(_mm256_loadu_ps(target), total[part]));
    }
}
#endif

struct Kernels {
    void (*sum)(const float* states, std::size_t block_count, float* sums);
    void (*add)(const std::uint16_t* offsets, std::size_t block_count, const float* sums,
                float* product);
};

Kernels choose_kernels() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("f16c")) {
        return {.sum = sum_blocks_avx2, .add = add_tile_avx2};
    }
#endif
    return {.sum = sum_blocks, .add = add_tile};
}

// ggml's custom operation: thread `thread` of `thread_count` takes its share of the tiles.
void compute_offsets(ggml_tensor* target, const ggml_tensor* /*product: target is it*/,
                     const ggml_tensor* states, const ggml_tensor* offsets, int thread,
                     int thread_count, void* /*user_data*/) {
    static const Kernels kernels = choose_kernels();
    const auto block_count = static_cast<std::size_t>(offsets->ne[1]);
    const std::int64_t tile_count = offsets->ne[2];
    const std::int64_t first = tile_count * thread / thread_count;
    const std::int64_t end = tile_count * (thread + 1) / thread_count;
    const auto* coefficients = static_cast<const std::uint16_t*>(offsets->data);
    BlockSums sums;  // deliberately not filled: only what is used is written
    for (std::int64_t token = 0; token < states->ne[1]; token += token_group) {
        const std::int64_t group = std::min(token_group, states->ne[1] - token);
        for (std::int64_t i = 0; i < group; ++i) {
            const auto* row = static_cast<const char*>(states->data) +
                              static_cast<std::size_t>(token + i) * states->nb[1];
            kernels.sum(reinterpret_cast<const float*>(row), block_count,
                        sums[static_cast<std::size_t>(i)].data());
        }
        for (std::int64_t tile = first; tile < end; ++tile) {
            const std::uint16_t* tile_offsets =
                coefficients + static_cast<std::size_t>(tile) * block_count * offset_tile_rows;
            for (std::int64_t i = 0; i < group; ++i) {
                auto* row = static_cast<char*>(target->data) +
                            static_cast<std::size_t>(token + i) * target->nb[1];
                kernels.add(tile_offsets, block_count, sums[static_cast<std::size_t>(i)].data(),
                            reinterpret_cast<float*>(row) + tile * offset_tile_rows);
            }
        }
    }
}

}  // namespace

void split_q4_1(std::span<const std::byte> q4_1, std::uint64_t column_count,
                std::uint64_t row_count, std::span<std::byte> q4_0,
                std::span<std::uint16_t> offsets) {
    const std::uint64_t blocks_per_row = column_count / block_columns;
    const std::uint64_t block_count = row_count * blocks_per_row;
    EXO_ASSERT(row_count % offset_tile_rows == 0 && column_count % block_columns == 0);
    EXO_ASSERT(q4_1.size() == block_count * q4_1_block_bytes);
    EXO_ASSERT(q4_0.size() == block_count * q4_0_block_bytes && offsets.size() == block_count);
    for (std::uint64_t row = 0; row < row_count; ++row) {
        const std::uint64_t tile = row / offset_tile_rows;
        for (std::uint64_t block = 0; block < blocks_per_row; ++block) {
            const std::uint64_t index = row * blocks_per_row + block;
            const std::byte* in = q4_1.data() + index * q4_1_block_bytes;
            std::byte* out = q4_0.data() + index * q4_0_block_bytes;
            std::memcpy(out, in, 2);
            std::memcpy(out + 2, in + 4, nibble_bytes);
            const float offset = load_f16(in + 2) + 8.0F * load_f16(in);
            offsets[(tile * blocks_per_row + block) * offset_tile_rows + row % offset_tile_rows] =
                ggml_fp32_to_fp16(offset);
        }
    }
}

ggml_tensor* add_offsets(ggml_context* context, ggml_tensor* product, ggml_tensor* states,
                         ggml_tensor* offsets) {
    EXO_ASSERT(static_cast<std::size_t>(offsets->ne[1]) <= block_count_max);
    return ggml_map_custom3_inplace(context, product, states, offsets, compute_offsets,
                                    GGML_N_TASKS_MAX, nullptr);
}

}  // namespace exomesh::engine
