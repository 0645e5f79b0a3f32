// Writes a model once more with every matrix as F32, so that ggml computes it without rounding
// activations to 8 bits: what is left of a difference between two ways to compute it is the order
// of sums. Metadata and vectors stay as they are.
//
//     dequantize_model model-q4_1.gguf model-f32.gguf
#include <ggml.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <format>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

#include "model/byte_reader.h"
#include "model/gguf.h"
#include "model/gguf_kind.h"
#include "model/testing/gguf_writer.h"
#include "platform/mapped_file.h"
#include "platform/output_file.h"

namespace {

using exomesh::ErrorCode;
using exomesh::fail;
using exomesh::Result;
using exomesh::model::ByteReader;
using exomesh::model::Gguf;
using exomesh::model::GgufKind;
using exomesh::model::TensorInfo;
using exomesh::model::TensorType;
using exomesh::model::testing::GgufWriter;
using exomesh::platform::MappedFile;
using exomesh::platform::OutputFile;

using Bytes = std::span<const std::byte>;

constexpr std::string_view file_type_key = "general.file_type";
constexpr std::uint32_t file_type_f32 = 0;
constexpr std::uint64_t alignment_bytes_default = 32;  // GGUF's
constexpr std::uint64_t chunk_value_count = 1 << 20;   // a multiple of every type's block
constexpr std::chrono::seconds progress_interval{1};

bool stays(const TensorInfo& tensor) {
    return tensor.type == TensorType::f32 || tensor.type == TensorType::i32;
}

std::uint64_t size_bytes_after(const TensorInfo& tensor) {
    return stays(tensor) ? tensor.size_bytes : tensor.element_count() * sizeof(float);
}

std::uint64_t number_bytes(GgufKind kind) {
    switch (kind) {
        case GgufKind::u16:
        case GgufKind::i16:
            return 2;
        case GgufKind::u32:
        case GgufKind::i32:
        case GgufKind::f32:
            return 4;
        case GgufKind::u64:
        case GgufKind::i64:
        case GgufKind::f64:
            return 8;
        case GgufKind::u8:
        case GgufKind::i8:
        case GgufKind::boolean:
            return 1;
        case GgufKind::string:
        case GgufKind::array:
            break;  // they have a length of their own
    }
    return 0;
}

Result<> skip_value(ByteReader& reader, GgufKind kind) {
    if (kind == GgufKind::string) {
        EXO_TRY(reader.string("a string"));
    } else if (kind == GgufKind::array) {
        EXO_TRY_ASSIGN(const auto element_kind, reader.number<std::uint32_t>("an array"));
        EXO_TRY_ASSIGN(const auto count, reader.number<std::uint64_t>("an array"));
        for (std::uint64_t i = 0; i < count; ++i) {
            EXO_TRY(skip_value(reader, static_cast<GgufKind>(element_kind)));
        }
    } else {
        reader.take(number_bytes(kind));
    }
    return {};
}

// Byte by byte, since Gguf widens numbers. `file` has been parsed: its lengths are right.
Result<> copy_metadata(Bytes file, GgufWriter& writer) {
    ByteReader reader(file);
    reader.take(4 + 4 + 8);  // "GGUF", the version, the number of tensors
    EXO_TRY_ASSIGN(const auto count, reader.number<std::uint64_t>("the number of keys"));
    for (std::uint64_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(const auto key, reader.string("a key"));
        EXO_TRY_ASSIGN(const auto kind, reader.number<std::uint32_t>("a kind"));
        const std::uint64_t begin = reader.offset_bytes();
        EXO_TRY(skip_value(reader, static_cast<GgufKind>(kind)));
        if (key == file_type_key) {
            writer.add(key, file_type_f32);
        } else {
            writer.add_raw(key, kind, file.subspan(begin, reader.offset_bytes() - begin));
        }
    }
    return {};
}

// Tells on stderr, once in a while, how much is written.
class Progress {
  public:
    explicit Progress(std::uint64_t total_bytes) : total_bytes_(total_bytes) {}

    void add(std::uint64_t size_bytes) {
        done_bytes_ += size_bytes;
        const auto now = std::chrono::steady_clock::now();
        if (now - shown_ < progress_interval) return;
        shown_ = now;
        std::fprintf(stderr, "%s\n",
                     std::format("{} of {} MB", done_bytes_ >> 20U, total_bytes_ >> 20U).c_str());
    }

  private:
    std::uint64_t total_bytes_;
    std::uint64_t done_bytes_ = 0;
    std::chrono::steady_clock::time_point shown_ = std::chrono::steady_clock::now();
};

class ModelWriter {
  public:
    ModelWriter(Bytes source, OutputFile& file, std::uint64_t alignment_bytes,
                std::uint64_t total_bytes)
        : source_(source), file_(file), alignment_bytes_(alignment_bytes), progress_(total_bytes) {}

    Result<> write(Bytes bytes) {
        EXO_TRY(file_.write({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
        progress_.add(bytes.size());
        return {};
    }

    Result<> write_tensor(const TensorInfo& tensor) {
        const Bytes bytes = source_.subspan(tensor.offset_bytes, tensor.size_bytes);
        EXO_TRY(stays(tensor) ? write(bytes) : write_values(tensor, bytes));
        const std::uint64_t over = size_bytes_after(tensor) % alignment_bytes_;
        return over == 0 ? Result<>() : write(std::vector<std::byte>(alignment_bytes_ - over));
    }

  private:
    Result<> write_values(const TensorInfo& tensor, Bytes bytes) {
        const auto traits = exomesh::model::tensor_type_traits(tensor.type);
        const auto to_float = ggml_get_type_traits(static_cast<ggml_type>(tensor.type))->to_float;
        if (to_float == nullptr) {
            return fail(ErrorCode::unsupported, std::format("ggml cannot turn {} ('{}') into F32.",
                                                            traits.name, tensor.name));
        }
        const std::uint64_t chunk_bytes =
            chunk_value_count / traits.block_count * traits.block_bytes;
        while (!bytes.empty()) {
            const Bytes chunk = bytes.first(std::min<std::uint64_t>(chunk_bytes, bytes.size()));
            values_.resize(chunk.size() / traits.block_bytes * traits.block_count);
            to_float(chunk.data(), values_.data(), static_cast<std::int64_t>(values_.size()));
            EXO_TRY(write(std::as_bytes(std::span(values_))));
            bytes = bytes.subspan(chunk.size());
        }
        return {};
    }

    Bytes source_;
    OutputFile& file_;
    std::uint64_t alignment_bytes_;
    Progress progress_;
    std::vector<float> values_;
};

// Before minutes of work rather than behind them.
Result<> check_room(const std::string& path, std::uint64_t wanted_bytes) {
    std::error_code unknown;
    const std::filesystem::path folder = std::filesystem::absolute(path, unknown).parent_path();
    const auto room = std::filesystem::space(folder, unknown);
    if (unknown || room.available >= wanted_bytes) return {};
    return fail(ErrorCode::resource_exhausted,
                std::format("'{}' takes {} MB, and {} MB are free.", path, wanted_bytes >> 20U,
                            room.available >> 20U),
                "Make room there, or name another file.");
}

Result<> dequantize(const std::string& from, const std::string& to) {
    EXO_TRY_ASSIGN(const MappedFile source, MappedFile::open(from));
    EXO_TRY_ASSIGN(const Gguf gguf, Gguf::parse(source.bytes()));
    GgufWriter header;
    EXO_TRY(copy_metadata(source.bytes(), header));
    const std::uint64_t alignment_bytes =
        gguf.unsigned_integer("general.alignment").value_or(alignment_bytes_default);
    header.set_alignment(alignment_bytes);
    if (gguf.find(file_type_key) == nullptr) header.add(file_type_key, file_type_f32);
    std::uint64_t data_bytes = 0;
    for (const TensorInfo& tensor : gguf.tensors()) {
        std::size_t dimension_count = tensor.shape.size();
        while (dimension_count > 1 && tensor.shape[dimension_count - 1] == 1) --dimension_count;
        const TensorType type = stays(tensor) ? tensor.type : TensorType::f32;
        header.add_raw_tensor(tensor.name, static_cast<std::uint32_t>(type),
                              std::span(tensor.shape).first(dimension_count), data_bytes);
        data_bytes +=
            (size_bytes_after(tensor) + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
    }
    const std::vector<std::byte> begin = header.bytes();
    EXO_TRY(check_room(to, begin.size() + data_bytes));
    EXO_TRY_ASSIGN(OutputFile file, OutputFile::create(to));
    ModelWriter writer(source.bytes(), file, alignment_bytes, begin.size() + data_bytes);
    EXO_TRY(writer.write(begin));
    for (const TensorInfo& tensor : gguf.tensors()) EXO_TRY(writer.write_tensor(tensor));
    return file.finish();
}

}  // namespace

int main(int argc, char** argv) {
    std::string from;
    std::string to;
    CLI::App app("Writes a GGUF model once more with every matrix as F32.");
    app.add_option("from", from, "the model")->required();
    app.add_option("to", to, "file to write")->required();
    CLI11_PARSE(app, argc, argv);

    if (const auto written = dequantize(from, to); !written) {
        std::fprintf(stderr, "dequantize_model: %s\n", written.error().text().c_str());
        return 1;
    }
    return 0;
}
