#include "engine/model_file.h"

#include <utility>

namespace exomesh::engine {

namespace {

std::unexpected<Error> about(const std::string& path, Error error) {
    error.message = "'" + path + "': " + error.message;
    return std::unexpected(std::move(error));
}

}  // namespace

Result<std::unique_ptr<const ModelFile>> ModelFile::open(const std::string& path) {
    EXO_TRY_ASSIGN(platform::MappedFile file, platform::MappedFile::open(path));
    auto gguf = model::Gguf::parse(file.bytes());
    if (!gguf) return about(path, std::move(gguf).error());
    auto architecture = model::read_architecture(*gguf);
    if (!architecture) return about(path, std::move(architecture).error());
    return std::make_unique<const ModelFile>(std::move(file), *std::move(gguf),
                                             *std::move(architecture));
}

}  // namespace exomesh::engine
