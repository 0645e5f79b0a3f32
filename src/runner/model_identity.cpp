#include "runner/model_identity.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace exomesh::runner {

std::string model_checksum(const engine::ModelFile& model) {
    const auto bytes = model.file.bytes();
    std::uint64_t header_end = bytes.size();
    for (const auto& tensor : model.gguf.tensors()) {
        header_end = std::min(header_end, tensor.offset_bytes);
    }
    std::array<unsigned char, 32> digest{};
    const int hashed =
        EVP_Digest(bytes.data(), header_end, digest.data(), nullptr, EVP_sha256(), nullptr);
    EXO_ASSERT(hashed == 1);
    constexpr const char* digits = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : digest) {
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

Result<void> check_model(const engine::ModelFile& model, const std::string& path,
                         const LoadRequest& request) {
    if (model.file.bytes().size() == request.model_size_bytes &&
        model_checksum(model) == request.model_checksum) {
        return {};
    }
    return fail(ErrorCode::invalid_argument,
                "'" + path + "' is another model here than at the head.",
                "Copy the head's file to this path, or say where it lies: `exomesh worker --model "
                "PATH`.");
}

}  // namespace exomesh::runner
