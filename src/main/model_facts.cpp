#include "main/model_facts.h"

#include <algorithm>
#include <cctype>
#include <format>
#include <map>
#include <utility>

#include "engine/model_file.h"
#include "model/gguf.h"

namespace exomesh::main {

namespace {

// general.file_type, as llama.cpp numbers it.
constexpr std::pair<std::uint64_t, const char*> file_types[] = {
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},    {3, "Q4_1"},    {7, "Q8_0"},
    {8, "Q5_0"},    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"}, {12, "Q3_K_M"},
    {13, "Q3_K_L"}, {14, "Q4_K_S"}, {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},
    {18, "Q6_K"},   {25, "IQ4_NL"}, {32, "BF16"},   {38, "MXFP4"},
};

std::string upper(std::string_view text) {
    std::string result(text);
    std::ranges::transform(result, result.begin(),
                           [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return result;
}

std::string quantization_of(const model::Gguf& gguf) {
    const auto number = gguf.unsigned_integer("general.file_type");
    for (const auto& [type, name] : file_types) {
        if (number && *number == type) return name;
    }
    std::map<model::TensorType, std::uint64_t> bytes_by_type;
    for (const model::TensorInfo& tensor : gguf.tensors()) {
        bytes_by_type[tensor.type] += tensor.size_bytes;
    }
    if (bytes_by_type.empty()) return "?";
    const auto most = std::ranges::max_element(bytes_by_type, {}, [](auto& e) { return e.second; });
    return upper(model::tensor_type_traits(most->first).name);
}

}  // namespace

Result<ModelFacts> read_model_facts(const std::string& path) {
    EXO_TRY_ASSIGN(const auto opened, engine::ModelFile::open(path));
    const model::Gguf& gguf = opened->gguf;
    ModelFacts facts;
    facts.architecture = opened->architecture;
    facts.path = path;
    facts.file_bytes = opened->file.bytes().size();
    facts.tensor_count = gguf.tensors().size();
    for (const model::TensorInfo& tensor : gguf.tensors()) {
        facts.parameter_count += tensor.element_count();
        facts.tensor_bytes += tensor.size_bytes;
    }
    facts.quantization = quantization_of(gguf);
    facts.type = facts.architecture.family + " " + count_text(facts.parameter_count) + " " +
                 facts.quantization;
    facts.has_chat_template = gguf.find("tokenizer.chat_template") != nullptr;
    return facts;
}

std::string bytes_text(std::uint64_t bytes) {
    const auto value = static_cast<double>(bytes);
    if (bytes >= 1ULL << 30) return std::format("{:.2f} GiB", value / (1ULL << 30));
    if (bytes >= 1ULL << 20) return std::format("{:.2f} MiB", value / (1ULL << 20));
    return std::format("{} B", bytes);
}

std::string count_text(std::uint64_t count) {
    const auto value = static_cast<double>(count);
    if (count >= 1'000'000'000) return std::format("{:.2f} B", value / 1e9);
    if (count >= 1'000'000) return std::format("{:.2f} M", value / 1e6);
    return std::format("{}", count);
}

}  // namespace exomesh::main
