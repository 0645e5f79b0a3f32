// What a MODEL on the command line may be: the path of a GGUF file, a name of the built-in
// catalogue, or the name of a GGUF file in one of the model folders.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exomesh::main {

struct CatalogueEntry {
    std::string name;         // what people type
    std::string file;         // its name in a model folder
    std::string description;  // one line; empty for files found beside the catalogue
    std::string how_to_get;   // empty for files that are there
    std::uint64_t size_bytes = 0;
    std::optional<std::string> path;  // where it lies; nothing where it is missing
};

// In the order they are searched: EXOMESH_MODELS, the user's data folder, the cache of ./dev.
[[nodiscard]] std::vector<std::string> model_folders();

// The built-in catalogue, then every other GGUF file in `folders`, by name.
[[nodiscard]] std::vector<CatalogueEntry> catalogue(const std::vector<std::string>& folders);

// The path of a model. not_found says how to get it, or names what is near.
[[nodiscard]] Result<std::string> find_model(std::string_view model,
                                             const std::vector<std::string>& folders);

}  // namespace exomesh::main
