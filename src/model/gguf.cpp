#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <format>
#include <limits>
#include <optional>
#include <type_traits>

#include "model/byte_reader.h"
#include "model/gguf_kind.h"
#include "model/quoted_name.h"

namespace exomesh::model {

namespace {

constexpr std::uint32_t magic = 0x46554747;  // "GGUF"
constexpr std::uint64_t alignment_bytes_default = 32;
constexpr const char* hint_damaged_file = "The file is damaged: download it again.";

using Kind = GgufKind;

std::unexpected<Error> corrupt(std::string message) {
    return fail(ErrorCode::corrupt_data, std::move(message), hint_damaged_file);
}

std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
    std::uint64_t product = 0;
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

// A key or a tensor's name.
Result<std::string> read_name(ByteReader& reader, std::string_view what) {
    EXO_TRY_ASSIGN(const auto text, reader.string(what));
    if (text.size() > gguf_name_bytes_max) {
        return corrupt(std::format("{} is {} bytes long, more than the {} allowed.", what,
                                   text.size(), gguf_name_bytes_max));
    }
    return std::string(text);
}

Result<bool> read_boolean(ByteReader& reader, std::string_view what) {
    EXO_TRY_ASSIGN(const auto byte, reader.number<std::uint8_t>(what));
    if (byte > 1) return corrupt(std::format("{} is {}, not a boolean (0 or 1).", what, byte));
    return byte == 1;
}

std::unexpected<Error> unknown_kind(std::string_view what, std::uint32_t kind) {
    return corrupt(std::format("{} has the unknown value type {}.", what, kind));
}

// Before anything is reserved for an array whose elements take at least `element_bytes` each.
Result<> check_array_count(const ByteReader& reader, std::uint64_t count,
                           std::uint64_t element_bytes, std::string_view what) {
    if (count > reader.left_bytes() / element_bytes) {
        constexpr std::uint64_t more_than_any = std::numeric_limits<std::uint64_t>::max();
        return reader.truncated(what,
                                checked_product(count, element_bytes).value_or(more_than_any));
    }
    if (count > gguf_array_count_max) {
        return fail(ErrorCode::resource_exhausted,
                    std::format("{} is an array of {} elements, more than the {} allowed.", what,
                                count, gguf_array_count_max));
    }
    return {};
}

// An array of numbers of type T, widened to Wide.
template <typename T, typename Wide>
Result<GgufArray> read_numbers(ByteReader& reader, std::uint64_t count, std::string_view what) {
    EXO_TRY(check_array_count(reader, count, sizeof(T), what));
    const std::byte* data = reader.take(count * sizeof(T));
    std::vector<Wide> values(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        T value;
        std::memcpy(&value, data + i * sizeof(T), sizeof(T));
        if constexpr (std::same_as<T, std::uint64_t>) {
            if (value > static_cast<std::uint64_t>(std::numeric_limits<Wide>::max())) {
                return fail(
                    ErrorCode::unsupported,
                    std::format("{} holds {}, which does not fit in 63 bits.", what, value));
            }
        }
        values[i] = static_cast<Wide>(value);  // NOLINT(bugprone-signed-char-misuse): a number
    }
    return GgufArray{std::move(values)};
}

Result<GgufArray> read_booleans(ByteReader& reader, std::uint64_t count, std::string_view what) {
    EXO_TRY(check_array_count(reader, count, 1, what));
    std::vector<bool> values(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(values[i], read_boolean(reader, what));
    }
    return GgufArray{std::move(values)};
}

Result<GgufArray> read_strings(ByteReader& reader, std::uint64_t count, std::string_view what) {
    // Each string takes at least its length, so that what is reserved follows the file's size.
    EXO_TRY(check_array_count(reader, count, sizeof(std::uint64_t), what));
    std::vector<std::string> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(const auto text, reader.string(what));
        values.emplace_back(text);
    }
    return GgufArray{std::move(values)};
}

Result<GgufArray> read_array(ByteReader& reader, std::string_view what) {
    EXO_TRY_ASSIGN(const auto kind, reader.number<std::uint32_t>(what));
    EXO_TRY_ASSIGN(const auto count, reader.number<std::uint64_t>(what));
    if (kind >= gguf_kind_count) return unknown_kind(what, kind);
    switch (static_cast<Kind>(kind)) {
        case Kind::u8:
            return read_numbers<std::uint8_t, std::int64_t>(reader, count, what);
        case Kind::i8:
            return read_numbers<std::int8_t, std::int64_t>(reader, count, what);
        case Kind::u16:
            return read_numbers<std::uint16_t, std::int64_t>(reader, count, what);
        case Kind::i16:
            return read_numbers<std::int16_t, std::int64_t>(reader, count, what);
        case Kind::u32:
            return read_numbers<std::uint32_t, std::int64_t>(reader, count, what);
        case Kind::i32:
            return read_numbers<std::int32_t, std::int64_t>(reader, count, what);
        case Kind::u64:
            return read_numbers<std::uint64_t, std::int64_t>(reader, count, what);
        case Kind::i64:
            return read_numbers<std::int64_t, std::int64_t>(reader, count, what);
        case Kind::f32:
            return read_numbers<float, double>(reader, count, what);
        case Kind::f64:
            return read_numbers<double, double>(reader, count, what);
        case Kind::boolean:
            return read_booleans(reader, count, what);
        case Kind::string:
            return read_strings(reader, count, what);
        case Kind::array:
            return fail(ErrorCode::unsupported,
                        std::format("{} is an array of arrays, which no known model uses.", what));
    }
    return unknown_kind(what, kind);
}

template <typename T, typename Wide>
Result<GgufValue> read_number(ByteReader& reader, std::string_view what) {
    EXO_TRY_ASSIGN(const auto value, reader.number<T>(what));
    return GgufValue(static_cast<Wide>(value));
}

Result<GgufValue> read_value(ByteReader& reader, std::string_view what) {
    EXO_TRY_ASSIGN(const auto kind, reader.number<std::uint32_t>(what));
    if (kind >= gguf_kind_count) return unknown_kind(what, kind);
    switch (static_cast<Kind>(kind)) {
        case Kind::u8:
            return read_number<std::uint8_t, std::uint64_t>(reader, what);
        case Kind::u16:
            return read_number<std::uint16_t, std::uint64_t>(reader, what);
        case Kind::u32:
            return read_number<std::uint32_t, std::uint64_t>(reader, what);
        case Kind::u64:
            return read_number<std::uint64_t, std::uint64_t>(reader, what);
        case Kind::i8:
            return read_number<std::int8_t, std::int64_t>(reader, what);
        case Kind::i16:
            return read_number<std::int16_t, std::int64_t>(reader, what);
        case Kind::i32:
            return read_number<std::int32_t, std::int64_t>(reader, what);
        case Kind::i64:
            return read_number<std::int64_t, std::int64_t>(reader, what);
        case Kind::f32:
            return read_number<float, double>(reader, what);
        case Kind::f64:
            return read_number<double, double>(reader, what);
        case Kind::boolean: {
            EXO_TRY_ASSIGN(const bool value, read_boolean(reader, what));
            return GgufValue(value);
        }
        case Kind::string: {
            EXO_TRY_ASSIGN(const auto text, reader.string(what));
            return GgufValue(std::string(text));
        }
        case Kind::array: {
            EXO_TRY_ASSIGN(auto array, read_array(reader, what));
            return GgufValue(std::move(array));
        }
    }
    return unknown_kind(what, kind);
}

struct Header {
    std::uint64_t tensor_count = 0;
    std::uint64_t metadata_count = 0;
};

Result<> check_count(const ByteReader& reader, std::string_view what, std::uint64_t count,
                     std::uint64_t count_max, std::uint64_t entry_bytes_min) {
    if (count > count_max) {
        return fail(ErrorCode::resource_exhausted,
                    std::format("the header announces {} {}, more than the {} allowed.", count,
                                what, count_max),
                    hint_damaged_file);
    }
    if (count * entry_bytes_min > reader.left_bytes()) {
        return corrupt(
            std::format("the file is truncated: its header announces {} {}, and only {} "
                        "bytes follow.",
                        count, what, reader.left_bytes()));
    }
    return {};
}

Result<Header> read_header(ByteReader& reader) {
    EXO_TRY_ASSIGN(const auto file_magic, reader.number<std::uint32_t>("the GGUF magic number"));
    if (file_magic != magic) {
        return fail(ErrorCode::corrupt_data,
                    std::format("this is no GGUF file: it begins with the bytes {:02x} {:02x} "
                                "{:02x} {:02x} instead of \"GGUF\".",
                                file_magic & 0xff, file_magic >> 8 & 0xff, file_magic >> 16 & 0xff,
                                file_magic >> 24),
                    "Give the path of a .gguf model file.");
    }
    EXO_TRY_ASSIGN(const auto version, reader.number<std::uint32_t>("the GGUF version"));
    if (version != 0 && (version & 0xffff) == 0) {
        return fail(ErrorCode::unsupported, "the GGUF file is big-endian.",
                    "Get the usual little-endian file of this model.");
    }
    if (version != 2 && version != 3) {
        return fail(
            ErrorCode::unsupported,
            std::format("the GGUF file has version {}; versions 2 and 3 are supported.", version),
            version == 1 ? "Convert the model again with a current converter."
                         : "A newer exomesh may read it.");
    }
    Header header;
    EXO_TRY_ASSIGN(header.tensor_count, reader.number<std::uint64_t>("the number of tensors"));
    EXO_TRY_ASSIGN(header.metadata_count,
                   reader.number<std::uint64_t>("the number of metadata entries"));
    // The shortest metadata entry: a key's length, a kind, one byte. The shortest tensor: a name's
    // length, the number of dimensions, one dimension, a type, an offset.
    EXO_TRY(check_count(reader, "metadata entries", header.metadata_count, gguf_metadata_count_max,
                        8 + 4 + 1));
    EXO_TRY(check_count(reader, "tensors", header.tensor_count, gguf_tensor_count_max,
                        8 + 4 + 8 + 4 + 8));
    return header;
}

// offset_bytes is still relative to the start of the tensors' data.
Result<TensorInfo> read_tensor_info(ByteReader& reader, std::uint64_t index) {
    TensorInfo tensor;
    EXO_TRY_ASSIGN(tensor.name, read_name(reader, std::format("the name of tensor {}", index)));
    const std::string what = "tensor " + quoted_name(tensor.name);
    EXO_TRY_ASSIGN(const auto dimension_count, reader.number<std::uint32_t>(what));
    if (dimension_count < 1 || dimension_count > tensor.shape.size()) {
        return corrupt(std::format("{} has {} dimensions; 1 to {} are possible.", what,
                                   dimension_count, tensor.shape.size()));
    }
    std::uint64_t element_count = 1;
    for (std::uint32_t i = 0; i < dimension_count; ++i) {
        EXO_TRY_ASSIGN(tensor.shape[i], reader.number<std::uint64_t>(what));
        if (tensor.shape[i] == 0) return corrupt(std::format("{}: dimension {} is zero.", what, i));
        const auto product = checked_product(element_count, tensor.shape[i]);
        if (!product) return corrupt(std::format("{}: its shape overflows 64 bits.", what));
        element_count = *product;
    }
    EXO_TRY_ASSIGN(const auto type, reader.number<std::uint32_t>(what));
    const auto traits = tensor_type_traits(type);
    if (!traits) {
        return fail(ErrorCode::unsupported,
                    std::format("{} has the type number {}, which is not supported.", what, type),
                    "Get the model in another quantization, such as Q4_K_M or Q8_0.");
    }
    tensor.type = traits->type;
    if (tensor.shape[0] % traits->block_count != 0) {
        return corrupt(
            std::format("{}: its rows of {} elements are no multiple of {}'s block of {}.", what,
                        tensor.shape[0], traits->name, traits->block_count));
    }
    const auto size_bytes =
        checked_product(element_count / traits->block_count, traits->block_bytes);
    if (!size_bytes) return corrupt(std::format("{}: its size overflows 64 bits.", what));
    tensor.size_bytes = *size_bytes;
    EXO_TRY_ASSIGN(tensor.offset_bytes, reader.number<std::uint64_t>(what));
    return tensor;
}

Result<std::uint64_t> read_alignment(const Gguf& gguf) {
    if (gguf.find("general.alignment") == nullptr) return alignment_bytes_default;
    EXO_TRY_ASSIGN(const auto alignment_bytes, gguf.unsigned_integer("general.alignment"));
    if (!std::has_single_bit(alignment_bytes) || alignment_bytes > gguf_alignment_bytes_max) {
        return corrupt(std::format("general.alignment is {}; it must be a power of two up to {}.",
                                   alignment_bytes, gguf_alignment_bytes_max));
    }
    return alignment_bytes;
}

// Turns the offsets into offsets from the start of the file, checked to lie inside it.
Result<> place_tensors(std::vector<TensorInfo>& tensors, std::uint64_t index_end_bytes,
                       std::uint64_t alignment_bytes, std::uint64_t file_bytes) {
    const std::uint64_t data_begin_bytes =
        (index_end_bytes + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
    const std::uint64_t data_bytes = file_bytes - std::min(data_begin_bytes, file_bytes);
    for (TensorInfo& tensor : tensors) {
        if (tensor.offset_bytes % alignment_bytes != 0) {
            return corrupt(std::format("tensor {} lies at byte {} of the data, not aligned to {}.",
                                       quoted_name(tensor.name), tensor.offset_bytes,
                                       alignment_bytes));
        }
        if (tensor.offset_bytes > data_bytes ||
            tensor.size_bytes > data_bytes - tensor.offset_bytes) {
            return fail(ErrorCode::corrupt_data,
                        std::format("the file is truncated: tensor {} takes {} bytes from byte {} "
                                    "of the data, which has {}.",
                                    quoted_name(tensor.name), tensor.size_bytes,
                                    tensor.offset_bytes, data_bytes),
                        "Download the file again: it is incomplete or damaged.");
        }
        tensor.offset_bytes += data_begin_bytes;
    }
    return {};
}

Result<> check_no_overlap(const std::vector<TensorInfo>& tensors) {
    std::vector<const TensorInfo*> ordered;
    ordered.reserve(tensors.size());
    for (const TensorInfo& tensor : tensors) ordered.push_back(&tensor);
    std::ranges::sort(ordered, {}, &TensorInfo::offset_bytes);
    for (std::size_t i = 1; i < ordered.size(); ++i) {
        const TensorInfo& before = *ordered[i - 1];
        if (before.offset_bytes + before.size_bytes > ordered[i]->offset_bytes) {
            return corrupt(std::format("the tensors {} and {} overlap in the file.",
                                       quoted_name(before.name), quoted_name(ordered[i]->name)));
        }
    }
    return {};
}

std::unexpected<Error> missing(std::string_view key) {
    return fail(ErrorCode::not_found,
                std::format("the model file has no metadata key {}.", quoted_name(key)));
}

std::unexpected<Error> wrong_type(std::string_view key, std::string_view wanted) {
    return corrupt(std::format("the metadata key {} does not hold {}.", quoted_name(key), wanted));
}

template <typename T>
const std::vector<T>* find_array(const Gguf& gguf, std::string_view key) {
    const GgufValue* value = gguf.find(key);
    if (value == nullptr) return nullptr;
    const auto* array = std::get_if<GgufArray>(value);
    return array == nullptr ? nullptr : std::get_if<std::vector<T>>(&array->values);
}

}  // namespace

Result<Gguf> Gguf::parse(std::span<const std::byte> file) {
    ByteReader reader(file);
    EXO_TRY_ASSIGN(const Header header, read_header(reader));
    Gguf gguf;
    for (std::uint64_t i = 0; i < header.metadata_count; ++i) {
        EXO_TRY_ASSIGN(auto key, read_name(reader, std::format("the key of metadata entry {}", i)));
        const std::string what = "the metadata key " + quoted_name(key);
        EXO_TRY_ASSIGN(auto value, read_value(reader, what));
        if (!gguf.metadata_.try_emplace(std::move(key), std::move(value)).second) {
            return corrupt(what + " occurs twice.");
        }
    }
    gguf.tensors_.reserve(header.tensor_count);
    for (std::uint64_t i = 0; i < header.tensor_count; ++i) {
        EXO_TRY_ASSIGN(auto tensor, read_tensor_info(reader, i));
        if (!gguf.tensor_index_.try_emplace(tensor.name, i).second) {
            return corrupt(std::format("tensor {} occurs twice.", quoted_name(tensor.name)));
        }
        gguf.tensors_.push_back(std::move(tensor));
    }
    EXO_TRY_ASSIGN(const auto alignment_bytes, read_alignment(gguf));
    EXO_TRY(place_tensors(gguf.tensors_, reader.offset_bytes(), alignment_bytes, file.size()));
    EXO_TRY(check_no_overlap(gguf.tensors_));
    return gguf;
}

Result<std::uint64_t> Gguf::unsigned_integer(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    if (const auto* number = std::get_if<std::uint64_t>(value)) return *number;
    const auto* number = std::get_if<std::int64_t>(value);
    if (number == nullptr || *number < 0) return wrong_type(key, "an integer of at least 0");
    return static_cast<std::uint64_t>(*number);
}

Result<double> Gguf::number(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    if (const auto* number = std::get_if<double>(value)) return *number;
    if (const auto* number = std::get_if<std::uint64_t>(value)) {
        return static_cast<double>(*number);
    }
    if (const auto* number = std::get_if<std::int64_t>(value)) return static_cast<double>(*number);
    return wrong_type(key, "a number");
}

Result<bool> Gguf::boolean(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    if (const auto* boolean = std::get_if<bool>(value)) return *boolean;
    return wrong_type(key, "a boolean");
}

Result<std::string> Gguf::string(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return missing(key);
    if (const auto* text = std::get_if<std::string>(value)) return *text;
    return wrong_type(key, "a string");
}

const GgufValue* Gguf::find(std::string_view key) const {
    const auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : &found->second;
}

const std::vector<std::string>* Gguf::strings(std::string_view key) const {
    return find_array<std::string>(*this, key);
}

const std::vector<std::int64_t>* Gguf::integers(std::string_view key) const {
    return find_array<std::int64_t>(*this, key);
}

const std::vector<double>* Gguf::numbers(std::string_view key) const {
    return find_array<double>(*this, key);
}

const std::vector<bool>* Gguf::booleans(std::string_view key) const {
    return find_array<bool>(*this, key);
}

const TensorInfo* Gguf::tensor(std::string_view name) const {
    const auto found = tensor_index_.find(name);
    return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace exomesh::model
