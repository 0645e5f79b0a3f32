// A model file opened for use: its bytes, its index and what kind of model it is.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "model/architecture.h"
#include "model/gguf.h"
#include "platform/mapped_file.h"

namespace exomesh::engine {

struct ModelFile {
    platform::MappedFile file;
    model::Gguf gguf;
    model::Architecture architecture;

    // Errors name the path and what is wrong with the file.
    [[nodiscard]] static Result<std::unique_ptr<const ModelFile>> open(const std::string& path);
};

// The error with the file's name in front.
[[nodiscard]] Error about_file(const std::string& path, Error error);

}  // namespace exomesh::engine
