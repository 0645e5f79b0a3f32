// What a GGUF file says about its model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "model/architecture.h"

namespace exomesh::main {

struct ModelFacts {
    std::string path;
    std::uint64_t file_bytes = 0;
    std::uint64_t tensor_bytes = 0;
    std::uint64_t parameter_count = 0;
    std::uint64_t tensor_count = 0;
    std::string quantization;  // "Q4_K_M": the file's own word, else its most common tensor type
    std::string type;          // "llama 134.52M Q4_1", as benches show it
    bool has_chat_template = false;
    model::Architecture architecture;
};

// not_found, io, corrupt_data, unsupported: as the file's readers tell.
[[nodiscard]] Result<ModelFacts> read_model_facts(const std::string& path);

[[nodiscard]] std::string bytes_text(std::uint64_t bytes);  // "93.81 MiB"
[[nodiscard]] std::string count_text(std::uint64_t count);  // "134.52 M"

}  // namespace exomesh::main
