// Makes Q4_1 as fast as Q4_0 on CPUs for which ggml has no layout of Q4_1.
//
// ggml has fast, repacked matrix kernels for Q4_0 on every CPU, for Q4_1 only with AMX. A Q4_1
// weight is w = d * q + m with q in 0..15, so w = d * (q - 8) + c with c = m + 8 * d: a Q4_0 matrix
// of the same bytes, plus one offset for each block of 32 columns. A product is then
//     y[row] = (Q4_0 product)[row] + sum over blocks b of c[row][b] * (sum of x over block b),
// where the second part has a 32nd of the work and is computed here. The offsets are F16, as m is
// in the file, so nothing is lost beyond the format's own rounding.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace exomesh::engine {

// Rows are processed in tiles; a matrix whose rows are no multiple of it stays Q4_1.
inline constexpr std::uint32_t offset_tile_rows = 32;
inline constexpr std::uint64_t split_columns_max = 131'072;

// Offsets are stored tile by tile, in a tile block by block, [rows of a tile] F16 each:
// ggml shape [offset_tile_rows, columns / 32, rows / offset_tile_rows].
//
// `q4_1`: a matrix in ggml's layout, `row_count` rows of `column_count` / 32 blocks of 20 bytes.
// `q4_0`: the same of 18 bytes. `offsets`: one F16 per block.
void split_q4_1(std::span<const std::byte> q4_1, std::uint64_t column_count,
                std::uint64_t row_count, std::span<std::byte> q4_0,
                std::span<std::uint16_t> offsets);

// Adds the offsets' part to `product` in place: a node of the graph, for the CPU alone.
// `product` f32 [rows, tokens], `states` f32 [columns, tokens], both contiguous.
[[nodiscard]] ggml_tensor* add_offsets(ggml_context* context, ggml_tensor* product,
                                       ggml_tensor* states, ggml_tensor* offsets);

}  // namespace exomesh::engine
