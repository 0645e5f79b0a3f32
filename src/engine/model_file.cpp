#include "engine/model_file.h"

#include <utility>

namespace exomesh::engine {

Error about_file(const std::string& path, Error error) {
    error.message = "'" + path + "': " + error.message;
    return error;
}

Result<std::unique_ptr<const ModelFile>> ModelFile::open(const std::string& path) {
    EXO_TRY_ASSIGN(platform::MappedFile file, platform::MappedFile::open(path));
    auto gguf = model::Gguf::parse(file.bytes());
    if (!gguf) return std::unexpected(about_file(path, std::move(gguf).error()));
    auto architecture = model::read_architecture(*gguf);
    if (!architecture) return std::unexpected(about_file(path, std::move(architecture).error()));
    return std::make_unique<const ModelFile>(std::move(file), *std::move(gguf),
                                             *std::move(architecture));
}

}  // namespace exomesh::engine
