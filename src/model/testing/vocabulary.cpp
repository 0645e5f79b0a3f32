#include "model/testing/vocabulary.h"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <utility>

#include "base/assert.h"
#include "model/byte_level.h"
#include "model/utf8.h"

namespace exomesh::model::testing {

namespace {

using Word = std::vector<std::string>;

// Words with the space before them.
std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    for (const char character : text) {
        if (words.empty() || character == ' ' || character == '\n') words.emplace_back();
        words.back().push_back(character);
    }
    return words;
}

void join(Word& word, const std::pair<std::string, std::string>& pair) {
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
        if (word[i] != pair.first || word[i + 1] != pair.second) continue;
        word[i] += word[i + 1];
        word.erase(word.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
}

// The pairs that byte-pair encoding learns, best first.
std::vector<std::pair<std::string, std::string>> learn(std::vector<Word> words, std::size_t count) {
    std::vector<std::pair<std::string, std::string>> learned;
    while (learned.size() < count) {
        std::map<std::pair<std::string, std::string>, int> counts;
        for (const Word& word : words) {
            for (std::size_t i = 0; i + 1 < word.size(); ++i) ++counts[{word[i], word[i + 1]}];
        }
        const auto best =
            std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; });
        if (best == counts.end()) break;
        learned.push_back(best->first);
        for (Word& word : words) join(word, learned.back());
    }
    return learned;
}

Word characters_of(std::string_view text) {
    Word characters;
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t size = utf8_sequence_length(text, i);
        EXO_ASSERT(size > 0);
        characters.emplace_back(text.substr(i, size));
        i += size;
    }
    return characters;
}

std::string with_marks(std::string_view text) {
    std::string marked;
    for (const char character : text) {
        marked += character == ' ' ? std::string("▁") : std::string(1, character);
    }
    return marked;
}

}  // namespace

std::string_view sample_text() {
    return "The quick brown fox jumps over the lazy dog. The dog doesn't mind: it's the fox's day, "
           "and they'll all be there, there and there again. We're the ones who've said that I'd "
           "go, and then the other thing is that this is the thing that the others think.\n"
           "Der schnelle braune Fuchs springt über den faulen Hund; naïve café, Zürich, straße.\n"
           "Быстрая коричневая лиса прыгает через ленивую собаку. Привет, мир!\n"
           "敏捷的棕色狐狸跳过懒狗。你好，世界！ すばやい茶色の狐 안녕하세요 세계\n"
           "for (int i = 0; i < count; ++i) {\n    total += values[i] * 2;\n}\n\n\n"
           "    return total == 1234567890 ? \"yes\" : \"no\";  // 3.14159 2024-01-01\n"
           "aaaa aaaaaaaa aaaaaaaaaaaaaaaa        😀 😀😀 HelloWorld camelCase\t\t\tend";
}

std::int32_t Vocabulary::add(std::string_view token, std::int32_t type, float score) {
    tokens.emplace_back(token);
    types.push_back(type);
    scores.push_back(score);
    return static_cast<std::int32_t>(tokens.size()) - 1;
}

GgufWriter Vocabulary::writer(std::string_view pre) const {
    GgufWriter writer;
    writer.add("tokenizer.ggml.model", merges.empty() ? "llama" : "gpt2");
    writer.add("tokenizer.ggml.tokens", tokens);
    writer.add("tokenizer.ggml.token_type", types);
    if (merges.empty()) {
        writer.add("tokenizer.ggml.scores", scores);
    } else {
        writer.add("tokenizer.ggml.pre", pre);
        writer.add("tokenizer.ggml.merges", merges);
    }
    return writer;
}

Vocabulary byte_level_vocabulary(std::size_t merge_count) {
    Vocabulary vocabulary;
    for (unsigned byte = 0; byte < 256; ++byte) {
        vocabulary.add(to_byte_level(std::string(1, static_cast<char>(byte))), type_normal);
    }
    std::vector<Word> words;
    for (const std::string& word : words_of(sample_text())) {
        Word& bytes = words.emplace_back();
        for (const char byte : word) bytes.emplace_back(1, byte);
    }
    std::set<std::string> known;
    for (const auto& [left, right] : learn(std::move(words), merge_count)) {
        vocabulary.merges.push_back(to_byte_level(left) + " " + to_byte_level(right));
        const std::string merged = to_byte_level(left + right);
        if (known.insert(merged).second) vocabulary.add(merged, type_normal);
    }
    vocabulary.add("<|start|>", type_control);
    vocabulary.add("<|im_end|>", type_control);
    vocabulary.add("<|im_end|>2", type_control);
    vocabulary.add("<think>", type_user_defined);
    return vocabulary;
}

Vocabulary sentence_piece_vocabulary(std::size_t piece_count) {
    Vocabulary vocabulary;
    vocabulary.add("<unk>", type_unknown);
    vocabulary.add("<s>", type_control);
    vocabulary.add("</s>", type_control);
    for (unsigned byte = 0; byte < 256; ++byte) {
        vocabulary.add(std::format("<0x{:02X}>", byte), type_byte);
    }
    std::vector<Word> words;
    for (const std::string& word : words_of(sample_text())) words.push_back(characters_of(word));
    float score = 0.0F;
    std::set<std::string> known;
    for (const auto& [left, right] : learn(words, piece_count)) {
        const std::string piece = with_marks(left + right);
        if (known.insert(piece).second) vocabulary.add(piece, type_normal, score--);
    }
    for (const Word& word : words) {
        for (const std::string& character : word) {
            const std::string piece = with_marks(character);
            if (known.insert(piece).second) vocabulary.add(piece, type_normal, score--);
        }
    }
    vocabulary.add("\n\n", type_user_defined);
    vocabulary.add("[image]", type_user_defined);
    return vocabulary;
}

Gguf gguf_of(const GgufWriter& writer) {
    auto gguf = Gguf::parse(writer.bytes());
    EXO_ASSERT(gguf.has_value());
    return std::move(*gguf);
}

}  // namespace exomesh::model::testing
