// Encodes strings with a vocabulary, for comparisons with other tokenizers.
//
//     tokenize_lines FILE.gguf parsed|as_text < strings
//
// Each line of the input is a JSON string; each line of the output holds its token ids, a "|", and
// the text they decode to as hexadecimal digits.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <print>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/gguf.h"
#include "model/tokenizer.h"

namespace {

namespace model = exomesh::model;

exomesh::Result<model::Tokenizer> load(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return exomesh::fail(exomesh::ErrorCode::not_found, std::string("cannot open ") + path);
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    EXO_TRY_ASSIGN(const model::Gguf gguf, model::Gguf::parse(std::as_bytes(std::span(bytes))));
    return model::Tokenizer::create(gguf);
}

void print_line(const model::Tokenizer& tokenizer, std::string_view text,
                model::SpecialTokens special) {
    const auto tokens = tokenizer.encode(text, special, model::SequenceStart::none);
    std::string line;
    for (const model::TokenId token : tokens) line += std::to_string(token) + ' ';
    line += '|';
    for (const char byte : tokenizer.decode(tokens)) {
        const auto value = static_cast<unsigned char>(byte);
        line += "0123456789abcdef"[value >> 4U];
        line += "0123456789abcdef"[value & 15U];
    }
    std::println("{}", line);
}

}  // namespace

int main(int argument_count, char** arguments) {
    if (argument_count != 3) {
        std::println(stderr, "usage: tokenize_lines FILE.gguf parsed|as_text");
        return 2;
    }
    const auto tokenizer = load(arguments[1]);
    if (!tokenizer) {
        std::println(stderr, "error: {}", tokenizer.error().text());
        return 1;
    }
    const auto special = std::string_view(arguments[2]) == "parsed" ? model::SpecialTokens::parsed
                                                                    : model::SpecialTokens::as_text;
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
        const auto text = nlohmann::json::parse(line, nullptr, false);
        if (!text.is_string()) {
            std::println(stderr, "error: a line of the input is no JSON string");
            return 1;
        }
        print_line(*tokenizer, text.get_ref<const std::string&>(), special);
    }
    return 0;
}
