#include "model/tokenizer.h"

#include <algorithm>
#include <format>
#include <optional>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "model/byte_pair_encoder.h"
#include "model/pre_tokenizer.h"
#include "model/sentence_piece_encoder.h"
#include "model/token_matcher.h"
#include "model/token_table.h"

namespace exomesh::model {

namespace {

struct BytePairs {
    PreTokenizer pre_tokenizer;
    BytePairEncoder encoder;
};

struct SentencePieces {
    SentencePieceEncoder encoder;
    bool adds_space_prefix = true;
};

// Whether the model's space goes in front, where it adds one at all.
enum class SpacePrefix { none, as_model_wants };

constexpr std::string_view harmony_return = "<|return|>";
constexpr std::string_view harmony_end = "<|end|>";

Result<TokenId> read_token(const Gguf& gguf, const TokenTable& table, std::string_view name,
                           TokenId otherwise) {
    const std::string key = std::format("tokenizer.ggml.{}_token_id", name);
    if (gguf.find(key) == nullptr) return table.contains(otherwise) ? otherwise : token_none;
    EXO_TRY_ASSIGN(const std::uint64_t value, gguf.unsigned_integer(key));
    // Converters write 2^32 - 1 for "none".
    if (value >= table.size()) return token_none;
    return static_cast<TokenId>(value);
}

Result<bool> read_flag(const Gguf& gguf, std::string_view key, bool otherwise) {
    if (gguf.find(key) == nullptr) return otherwise;
    return gguf.boolean(key);
}

}  // namespace

struct Tokenizer::Vocabulary {
    Vocabulary(TokenTable tokens, TokenSpelling spelling)
        : table(std::move(tokens)), matcher(table, spelling) {}

    TokenTable table;
    TokenMatcher matcher;
    // Both view `table`, which stays where it is behind the Tokenizer's pointer.
    std::variant<std::monostate, BytePairs, SentencePieces> algorithm;
    TokenId beginning_of_sequence = token_none;
    TokenId end_of_sequence = token_none;
    TokenId unknown = token_none;
    bool adds_beginning_of_sequence = false;
    std::vector<TokenId> end_of_generation;  // sorted

    Result<> read_byte_pairs(const Gguf& gguf);
    Result<> read_sentence_pieces(const Gguf& gguf);
    Result<> read_end_of_generation(const Gguf& gguf);
    void encode_raw(std::string_view text, SpacePrefix prefix, std::vector<TokenId>& tokens) const;
};

Result<> Tokenizer::Vocabulary::read_byte_pairs(const Gguf& gguf) {
    std::string family_name = "default";
    if (gguf.find("tokenizer.ggml.pre") != nullptr) {
        EXO_TRY_ASSIGN(family_name, gguf.string("tokenizer.ggml.pre"));
    }
    EXO_TRY_ASSIGN(const PreTokenizerFamily* const family, find_pre_tokenizer_family(family_name));
    const auto* const merges = gguf.strings("tokenizer.ggml.merges");
    if (merges == nullptr) {
        return fail(ErrorCode::corrupt_data,
                    "the vocabulary has no merges (tokenizer.ggml.merges).",
                    "The model file was converted by a very old program: use a newer conversion.");
    }
    EXO_TRY_ASSIGN(PreTokenizer pre_tokenizer, PreTokenizer::create(*family));
    EXO_TRY_ASSIGN(BytePairEncoder encoder,
                   BytePairEncoder::create(table, *merges, family->whole_words));
    algorithm = BytePairs{std::move(pre_tokenizer), std::move(encoder)};
    EXO_TRY_ASSIGN(beginning_of_sequence, read_token(gguf, table, "bos", token_none));
    EXO_TRY_ASSIGN(end_of_sequence, read_token(gguf, table, "eos", token_none));
    EXO_TRY_ASSIGN(unknown, read_token(gguf, table, "unknown", token_none));
    EXO_TRY_ASSIGN(adds_beginning_of_sequence, read_flag(gguf, "tokenizer.ggml.add_bos_token",
                                                         family->adds_beginning_of_sequence));
    return {};
}

Result<> Tokenizer::Vocabulary::read_sentence_pieces(const Gguf& gguf) {
    // The defaults are those of the original SentencePiece vocabulary of Llama.
    EXO_TRY_ASSIGN(beginning_of_sequence, read_token(gguf, table, "bos", 1));
    EXO_TRY_ASSIGN(end_of_sequence, read_token(gguf, table, "eos", 2));
    EXO_TRY_ASSIGN(unknown, read_token(gguf, table, "unknown", 0));
    EXO_TRY_ASSIGN(adds_beginning_of_sequence,
                   read_flag(gguf, "tokenizer.ggml.add_bos_token", true));
    EXO_TRY_ASSIGN(const bool adds_space_prefix,
                   read_flag(gguf, "tokenizer.ggml.add_space_prefix", true));
    const auto* const scores = gguf.numbers("tokenizer.ggml.scores");
    if (scores == nullptr) {
        return fail(ErrorCode::corrupt_data,
                    "the vocabulary has no scores (tokenizer.ggml.scores).",
                    "The model file is damaged: download it again.");
    }
    EXO_TRY_ASSIGN(SentencePieceEncoder encoder,
                   SentencePieceEncoder::create(table, *scores, unknown));
    algorithm = SentencePieces{std::move(encoder), adds_space_prefix};
    return {};
}

Result<> Tokenizer::Vocabulary::read_end_of_generation(const Gguf& gguf) {
    auto& ends = end_of_generation;
    if (end_of_sequence != token_none) ends.push_back(end_of_sequence);
    for (const std::string_view name : {"eot", "eom"}) {
        EXO_TRY_ASSIGN(const TokenId token, read_token(gguf, table, name, token_none));
        if (token != token_none) ends.push_back(token);
    }
    TokenId end_of_message = token_none;
    bool speaks_harmony = false;
    for (TokenId token = 0; token < static_cast<TokenId>(table.size()); ++token) {
        if (table.kind(token) != TokenKind::control) continue;
        const std::string_view text = table.text(token);
        if (is_end_name(text)) ends.push_back(token);
        if (text == harmony_end) end_of_message = token;
        if (text == harmony_return) speaks_harmony = true;
    }
    // In gpt-oss's Harmony format an answer has several messages, and this one ends only a message.
    if (speaks_harmony) std::erase(ends, end_of_message);
    std::ranges::sort(ends);
    const auto repeated = std::ranges::unique(ends);
    ends.erase(repeated.begin(), repeated.end());
    return {};
}

void Tokenizer::Vocabulary::encode_raw(std::string_view text, SpacePrefix prefix,
                                       std::vector<TokenId>& tokens) const {
    if (text.empty()) return;
    if (const auto* pieces = std::get_if<SentencePieces>(&algorithm)) {
        // "▁" in the text is the same as a space: these vocabularies know no other space.
        const bool adds_space = pieces->adds_space_prefix && prefix == SpacePrefix::as_model_wants;
        std::string spaced = adds_space ? " " : "";
        append_without_space_marks(text, spaced);
        pieces->encoder.encode(spaced, tokens);
        return;
    }
    const auto& pairs = std::get<BytePairs>(algorithm);
    std::vector<std::size_t> ends;
    pairs.pre_tokenizer.split(text, ends);
    BytePairEncoder::Scratch scratch;
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
        pairs.encoder.encode(text.substr(begin, end - begin), scratch, tokens);
        begin = end;
    }
}

Tokenizer::Tokenizer(std::unique_ptr<const Vocabulary> vocabulary)
    : vocabulary_(std::move(vocabulary)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::create(const Gguf& gguf) {
    if (gguf.find("tokenizer.ggml.model") == nullptr) {
        return fail(ErrorCode::corrupt_data, "the file has no tokenizer (tokenizer.ggml.model).",
                    "It may be an adapter or a part of another model: use a chat model's file.");
    }
    EXO_TRY_ASSIGN(const std::string model, gguf.string("tokenizer.ggml.model"));
    if (model != "gpt2" && model != "llama") {
        return fail(ErrorCode::unsupported,
                    std::format("tokenizers of the kind '{}' (tokenizer.ggml.model) are not "
                                "supported.",
                                model),
                    "Supported are 'gpt2' and 'llama', which most chat models use.");
    }
    const bool is_byte_level = model == "gpt2";
    const auto spelling = is_byte_level ? TokenSpelling::byte_level : TokenSpelling::sentence_piece;
    EXO_TRY_ASSIGN(TokenTable table, TokenTable::read(gguf, spelling));
    auto vocabulary = std::make_unique<Vocabulary>(std::move(table), spelling);
    EXO_TRY(is_byte_level ? vocabulary->read_byte_pairs(gguf)
                          : vocabulary->read_sentence_pieces(gguf));
    EXO_TRY(vocabulary->read_end_of_generation(gguf));
    return Tokenizer(std::move(vocabulary));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special,
                                       SequenceStart start) const {
    const TextStretch whole{text, special};
    return encode(std::span(&whole, 1), start);
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextStretch> stretches,
                                       SequenceStart start) const {
    std::vector<TokenId> tokens;
    if (start == SequenceStart::as_model_wants && adds_beginning_of_sequence()) {
        tokens.push_back(vocabulary_->beginning_of_sequence);
    }
    auto prefix = SpacePrefix::as_model_wants;
    for (const auto& [text, special] : stretches) {
        std::size_t done = 0;
        while (done < text.size()) {
            const TokenMatcher::Match match = vocabulary_->matcher.find(text, done, special);
            if (match.token == token_none) break;
            vocabulary_->encode_raw(text.substr(done, match.begin - done), prefix, tokens);
            tokens.push_back(match.token);
            done = match.end;
            prefix = SpacePrefix::as_model_wants;
        }
        if (done == text.size()) continue;
        vocabulary_->encode_raw(text.substr(done), prefix, tokens);
        prefix = SpacePrefix::none;
    }
    return tokens;
}

std::string_view Tokenizer::piece(TokenId token) const {
    const TokenTable& table = vocabulary_->table;
    if (!table.contains(token) || table.is_control(token)) return {};
    return table.text(token);
}

std::string_view Tokenizer::piece_with_specials(TokenId token) const {
    const TokenTable& table = vocabulary_->table;
    return table.contains(token) ? table.text(token) : std::string_view{};
}

std::string Tokenizer::decode(const std::vector<TokenId>& tokens) const {
    std::string text;
    for (const TokenId token : tokens) text += piece(token);
    const auto* pieces = std::get_if<SentencePieces>(&vocabulary_->algorithm);
    if (pieces != nullptr && pieces->adds_space_prefix && text.starts_with(' ')) text.erase(0, 1);
    return text;
}

std::size_t Tokenizer::vocabulary_size() const {
    return vocabulary_->table.size();
}
TokenId Tokenizer::beginning_of_sequence() const {
    return vocabulary_->beginning_of_sequence;
}
TokenId Tokenizer::end_of_sequence() const {
    return vocabulary_->end_of_sequence;
}
TokenId Tokenizer::unknown() const {
    return vocabulary_->unknown;
}

bool Tokenizer::adds_beginning_of_sequence() const {
    return vocabulary_->adds_beginning_of_sequence &&
           vocabulary_->beginning_of_sequence != token_none;
}

bool Tokenizer::ends_generation(TokenId token) const {
    return std::ranges::binary_search(vocabulary_->end_of_generation, token);
}

bool Tokenizer::is_control(TokenId token) const {
    return vocabulary_->table.contains(token) && vocabulary_->table.is_control(token);
}

bool Tokenizer::is_kept_from_messages(TokenId token) const {
    const TokenTable& table = vocabulary_->table;
    return is_control(token) || (table.contains(token) && table.is_turn_mark(token));
}

}  // namespace exomesh::model
