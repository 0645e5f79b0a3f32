// Are the weights of two model files the same, byte for byte? Two ways to know: they are one file
// of one machine, unchanged; or a checksum over all bytes, which is remembered on disk for as long
// as the file stays as it is, since a large file takes seconds to read.
#pragma once

#include <string>

#include "engine/model_file.h"

namespace exomesh::runner {

// Names the file and its state among all files of all machines that are up. Empty where the machine
// cannot be told from others.
[[nodiscard]] std::string model_stamp(const engine::ModelFile& model);

// Hex SHA-256 over the SHA-256 of each content_chunk_bytes of the file. Computed by several
// threads, or read from `cache_folder` (device/cache_file.h; empty: not remembered).
inline constexpr std::size_t content_chunk_bytes = std::size_t{16} << 20;
[[nodiscard]] std::string content_checksum(const engine::ModelFile& model,
                                           const std::string& cache_folder);

// Where both sides keep them.
[[nodiscard]] std::string content_cache_folder();

}  // namespace exomesh::runner
