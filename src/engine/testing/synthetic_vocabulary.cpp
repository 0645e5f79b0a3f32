#include "engine/testing/synthetic_vocabulary.h"

#include <array>
#include <cstdio>
#include <set>
#include <utility>

#include "base/assert.h"
#include "engine/sampler.h"
#include "engine/testing/synthetic_model.h"

namespace exomesh::engine::testing {

namespace {

constexpr std::size_t word_bytes_max = 12;

// The numbers of the file format.
enum class TokenType : std::int32_t { normal = 1, unknown = 2, control = 3, byte = 6 };

struct Token {
    std::string text;
    TokenType type = TokenType::normal;
};

std::string utf8(std::uint32_t code_point) {
    EXO_ASSERT(code_point < 0x800);
    if (code_point < 0x80) return {static_cast<char>(code_point)};
    return {static_cast<char>(0xC0 | (code_point >> 6U)),
            static_cast<char>(0x80 | (code_point & 0x3FU))};
}

// GPT-2 spells bytes as visible characters: printable Latin-1 as itself, the others from U+0100 on.
std::vector<std::string> byte_level_characters() {
    std::vector<std::string> characters;
    std::uint32_t next = 0x100;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        const bool is_visible = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
        characters.push_back(utf8(is_visible ? byte : next++));
    }
    return characters;
}

// New words, each the concatenation of two pieces there are; a space only stands in front.
class WordMaker {
  public:
    WordMaker(std::string space, std::uint64_t seed) : space_(std::move(space)), random_(seed) {
        pieces_.push_back(space_);
        for (char letter = 'a'; letter <= 'z'; ++letter) pieces_.emplace_back(1, letter);
    }

    std::pair<std::string, std::string> next() {
        for (;;) {
            const std::string& left = pieces_[random_.next() % pieces_.size()];
            const std::string& right = pieces_[random_.next() % pieces_.size()];
            if (right.starts_with(space_) || left.size() + right.size() > word_bytes_max) continue;
            if (!known_.insert(left + right).second) continue;
            std::pair<std::string, std::string> pair(left, right);
            pieces_.push_back(left + right);
            return pair;
        }
    }

  private:
    std::string space_;
    RandomGenerator random_;
    std::vector<std::string> pieces_;
    std::set<std::string> known_;
};

void add_tokens(model::testing::GgufWriter& writer, const std::vector<Token>& tokens) {
    std::vector<std::string> texts;
    std::vector<std::int32_t> types;
    for (const Token& token : tokens) {
        texts.push_back(token.text);
        types.push_back(static_cast<std::int32_t>(token.type));
    }
    writer.add("tokenizer.ggml.tokens", texts).add("tokenizer.ggml.token_type", types);
}

void add_byte_level(model::testing::GgufWriter& writer, std::string_view family,
                    std::uint32_t token_count, std::uint64_t seed) {
    std::vector<Token> tokens;
    for (const std::string& character : byte_level_characters()) tokens.push_back({character});
    const std::vector<std::string> specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    std::vector<std::string> merges;
    WordMaker words(byte_level_characters()[' '], seed);
    while (tokens.size() + specials.size() < token_count) {
        const auto [left, right] = words.next();
        merges.push_back(left + " " + right);
        tokens.push_back({left + right});
    }
    const auto first_special = static_cast<std::uint32_t>(tokens.size());
    for (const std::string& special : specials) tokens.push_back({special, TokenType::control});
    const bool is_llama = family == "llama";
    writer.add("tokenizer.ggml.model", "gpt2")
        .add("tokenizer.ggml.pre", is_llama ? "gpt-2" : "qwen2");
    add_tokens(writer, tokens);
    writer.add("tokenizer.ggml.merges", merges)
        .add("tokenizer.ggml.bos_token_id", first_special)
        .add("tokenizer.ggml.eos_token_id", first_special + 2)
        .add("tokenizer.ggml.add_bos_token", false);
}

struct Specials {
    std::vector<Token> tokens;
    std::uint32_t beginning, end, unknown;
};

// Programs know the special tokens of these families by name.
Specials sentence_piece_specials(std::string_view family) {
    if (family == "phi3") {
        return {.tokens = {{"<unk>", TokenType::unknown},
                           {"<s>", TokenType::control},
                           {"</s>", TokenType::control},
                           {"<|endoftext|>", TokenType::control}},
                .beginning = 1,
                .end = 3,
                .unknown = 0};
    }
    return {.tokens = {{"<pad>", TokenType::control},
                       {"<eos>", TokenType::control},
                       {"<bos>", TokenType::control},
                       {"<unk>", TokenType::unknown}},
            .beginning = 2,
            .end = 1,
            .unknown = 3};
}

void add_sentence_piece(model::testing::GgufWriter& writer, std::string_view family,
                        std::uint32_t token_count, std::uint64_t seed) {
    const std::string space = "\xE2\x96\x81";  // U+2581
    const Specials specials = sentence_piece_specials(family);
    std::vector<Token> tokens = specials.tokens;
    for (unsigned byte = 0; byte < 256; ++byte) {
        std::array<char, 7> name{};
        std::snprintf(name.data(), name.size(), "<0x%02X>", byte);
        tokens.push_back({name.data(), TokenType::byte});
    }
    const std::size_t unscored_count = tokens.size();
    tokens.push_back({space});
    for (char letter = '!'; letter <= '~'; ++letter) tokens.push_back({std::string(1, letter)});
    WordMaker words(space, seed);
    while (tokens.size() < token_count) {
        const auto [left, right] = words.next();
        tokens.push_back({left + right});
    }
    // A higher score is merged first.
    std::vector<float> scores(tokens.size(), 0.0F);
    for (std::size_t i = unscored_count; i < scores.size(); ++i) scores[i] = -static_cast<float>(i);
    writer.add("tokenizer.ggml.model", "llama").add("tokenizer.ggml.pre", "default");
    add_tokens(writer, tokens);
    writer.add("tokenizer.ggml.scores", scores)
        .add("tokenizer.ggml.bos_token_id", specials.beginning)
        .add("tokenizer.ggml.eos_token_id", specials.end)
        .add("tokenizer.ggml.unknown_token_id", specials.unknown)
        .add("tokenizer.ggml.add_bos_token", true)
        .add("tokenizer.ggml.add_space_prefix", false);
}

}  // namespace

void add_synthetic_vocabulary(model::testing::GgufWriter& writer, std::string_view family,
                              std::uint32_t token_count, std::uint64_t seed) {
    EXO_ASSERT(token_count >= synthetic_vocabulary_size_min);
    if (family == "gemma3" || family == "phi3") {
        add_sentence_piece(writer, family, token_count, seed);
    } else {
        add_byte_level(writer, family, token_count, seed);
    }
}

}  // namespace exomesh::engine::testing
