#include "model/testing/gguf_writer.h"

#include <fstream>

namespace exomesh::model::testing {

void GgufWriter::append_string(Bytes& bytes, std::string_view text) {
    append_number(bytes, static_cast<std::uint64_t>(text.size()));
    const auto raw = std::as_bytes(std::span(text));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

void GgufWriter::begin_value(std::string_view key, GgufKind kind) {
    ++metadata_count_;
    append_string(metadata_, key);
    append_number(metadata_, static_cast<std::uint32_t>(kind));
}

GgufWriter& GgufWriter::add(std::string_view key, std::string_view value) {
    begin_value(key, GgufKind::string);
    append_string(metadata_, value);
    return *this;
}

GgufWriter& GgufWriter::add_raw(std::string_view key, std::uint32_t kind,
                                std::span<const std::byte> value) {
    begin_value(key, static_cast<GgufKind>(kind));
    metadata_.insert(metadata_.end(), value.begin(), value.end());
    return *this;
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, TensorType type,
                                   std::span<const std::uint64_t> shape,
                                   std::span<const std::byte> data) {
    add_raw_tensor(name, static_cast<std::uint32_t>(type), shape, data_.size());
    data_.insert(data_.end(), data.begin(), data.end());
    data_.resize((data_.size() + alignment_bytes_ - 1) / alignment_bytes_ * alignment_bytes_);
    return *this;
}

GgufWriter& GgufWriter::add_raw_tensor(std::string_view name, std::uint32_t type,
                                       std::span<const std::uint64_t> shape,
                                       std::uint64_t offset_bytes) {
    ++tensor_count_;
    append_string(tensor_index_, name);
    append_number(tensor_index_, static_cast<std::uint32_t>(shape.size()));
    for (const std::uint64_t size : shape) append_number(tensor_index_, size);
    append_number(tensor_index_, type);
    append_number(tensor_index_, offset_bytes);
    return *this;
}

std::vector<std::byte> GgufWriter::bytes() const {
    Bytes file;
    append_number(file, std::uint32_t{0x46554747});  // "GGUF"
    append_number(file, version_);
    append_number(file, tensor_count_);
    append_number(file, metadata_count_);
    file.insert(file.end(), metadata_.begin(), metadata_.end());
    file.insert(file.end(), tensor_index_.begin(), tensor_index_.end());
    if (tensor_count_ > 0) {
        file.resize((file.size() + alignment_bytes_ - 1) / alignment_bytes_ * alignment_bytes_);
        file.insert(file.end(), data_.begin(), data_.end());
    }
    return file;
}

Result<> GgufWriter::write(const std::string& path) const {
    const Bytes file = bytes();
    std::ofstream stream(path, std::ios::binary | std::ios::trunc);
    stream.write(reinterpret_cast<const char*>(file.data()),
                 static_cast<std::streamsize>(file.size()));
    stream.close();
    if (!stream) return fail(ErrorCode::io, "cannot write '" + path + "'.");
    return {};
}

std::uint64_t tensor_size_bytes(TensorType type, std::span<const std::uint64_t> shape) {
    const TensorTypeTraits traits = tensor_type_traits(type);
    std::uint64_t element_count = 1;
    for (const std::uint64_t size : shape) element_count *= size;
    return element_count / traits.block_count * traits.block_bytes;
}

}  // namespace exomesh::model::testing
