// Any bytes as text for a small byte-level and a small SentencePiece-style vocabulary, and any
// bytes as the vocabulary itself. The first byte chooses.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/assert.h"
#include "model/pre_tokenizer.h"
#include "model/testing/vocabulary.h"
#include "model/tokenizer.h"

namespace {

namespace model = exomesh::model;
namespace testing = exomesh::model::testing;

model::Tokenizer make(const testing::GgufWriter& writer) {
    auto tokenizer = model::Tokenizer::create(testing::gguf_of(writer));
    EXO_ASSERT(tokenizer.has_value());
    return std::move(*tokenizer);
}

// One for each family of word rules, and the last with SentencePiece.
const std::vector<model::Tokenizer>& tokenizers() {
    static const std::vector<model::Tokenizer> all = [] {
        std::vector<model::Tokenizer> result;
        const auto vocabulary = testing::byte_level_vocabulary(300);
        for (const auto& family : model::pre_tokenizer_families()) {
            result.push_back(make(vocabulary.writer(family.names.front())));
        }
        result.push_back(make(testing::sentence_piece_vocabulary(300).writer("")));
        return result;
    }();
    return all;
}

void check_text(const model::Tokenizer& tokenizer, std::string_view text, bool is_byte_level) {
    const auto as_text =
        tokenizer.encode(text, model::SpecialTokens::as_text, model::SequenceStart::none);
    for (const model::TokenId token : as_text) EXO_ASSERT(!tokenizer.is_control(token));
    if (is_byte_level) EXO_ASSERT(tokenizer.decode(as_text) == text);
    const auto parsed =
        tokenizer.encode(text, model::SpecialTokens::parsed, model::SequenceStart::as_model_wants);
    std::string named;
    for (const model::TokenId token : parsed) {
        EXO_ASSERT(token >= 0 && std::cmp_less(token, tokenizer.vocabulary_size()));
        named += tokenizer.piece_with_specials(token);
    }
    if (is_byte_level) EXO_ASSERT(named == text);
}

// A vocabulary of tokens of at most seven bytes each, spelled by the input: each begins with a byte
// of which three bits are its length and three its type.
void check_vocabulary(std::string_view bytes, std::string_view family) {
    testing::Vocabulary vocabulary;
    for (std::size_t i = 0; i < bytes.size();) {
        const auto head = static_cast<std::uint8_t>(bytes[i++]);
        const std::string_view token = bytes.substr(i, head & 7U);
        i += token.size();
        vocabulary.add(token, head >> 3U & 7U, static_cast<float>(head >> 6U));
        // Any token may be a merge too: one with a space in it joins something.
        if (!family.empty()) vocabulary.merges.emplace_back(token);
    }
    auto tokenizer = model::Tokenizer::create(testing::gguf_of(
        vocabulary.writer(family).add("tokenizer.ggml.bos_token_id", std::uint32_t{3})));
    if (!tokenizer) {
        EXO_ASSERT(!tokenizer.error().message.empty());
        return;
    }
    for (const auto special : {model::SpecialTokens::as_message, model::SpecialTokens::as_text,
                               model::SpecialTokens::parsed}) {
        const auto tokens = tokenizer->encode(bytes, special, model::SequenceStart::as_model_wants);
        for (const model::TokenId token : tokens) {
            EXO_ASSERT(token >= 0 && std::cmp_less(token, tokenizer->vocabulary_size()));
        }
        (void)tokenizer->decode(tokens);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t choice = data[0] % (tokenizers().size() + 2);
    if (choice < tokenizers().size()) {
        check_text(tokenizers()[choice], input, choice + 1 < tokenizers().size());
    } else {
        check_vocabulary(input, choice == tokenizers().size() ? "qwen2" : "");
    }
    return 0;
}
