// The tokens of a GGUF vocabulary: the bytes each stands for and its kind. Internal to the
// tokenizers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace exomesh::model {

// The numbers of tokenizer.ggml.token_type.
enum class TokenKind : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6,
};

// How the file spells tokens: in GPT-2's byte alphabet (byte_level.h), or as text with "▁" for a
// space and "<0x0A>" for a byte.
enum class TokenSpelling { byte_level, sentence_piece };

// "▁", U+2581: how SentencePiece writes a space.
inline constexpr std::string_view space_mark = "\xE2\x96\x81";

// Far above the longest token of any known vocabulary.
inline constexpr std::size_t token_text_bytes_max = 64 << 10;
// Of control and user-defined tokens, which are looked for at every place of a text, and in a trie
// that takes up to 70 times the bytes of their names.
inline constexpr std::size_t special_text_bytes_max = 1 << 10;
inline constexpr std::size_t special_texts_bytes_max = 4 << 20;

// True for the names of tokens that end an answer: control tokens whatever the file says, because
// files exist that list them as ordinary text, and a model would then never stop.
[[nodiscard]] bool is_end_name(std::string_view name);

// Appends `written` with a space for every "▁".
void append_without_space_marks(std::string_view written, std::string& text);

class TokenTable {
  public:
    [[nodiscard]] static Result<TokenTable> read(const Gguf& gguf, TokenSpelling spelling);

    [[nodiscard]] std::size_t size() const { return texts_.size(); }
    [[nodiscard]] bool contains(TokenId token) const {
        return token >= 0 && static_cast<std::size_t>(token) < texts_.size();
    }
    // The bytes the token stands for; a control or unknown token's name. Valid as long as the
    // table, also when it moves.
    [[nodiscard]] std::string_view text(TokenId token) const {
        return texts_[static_cast<std::size_t>(token)];
    }
    [[nodiscard]] TokenKind kind(TokenId token) const {
        return kinds_[static_cast<std::size_t>(token)];
    }
    // True for what never comes out as text, nor out of text that people wrote.
    [[nodiscard]] bool is_control(TokenId token) const {
        return kind(token) == TokenKind::control || kind(token) == TokenKind::unknown;
    }
    // True for user-defined tokens named "<|user|>" or "<｜User｜>": files list the marks of turns
    // as such, too, and text from people must not become one.
    [[nodiscard]] bool is_turn_mark(TokenId token) const;
    [[nodiscard]] std::span<const std::string_view> texts() const { return texts_; }

  private:
    // One block for all texts; a vector, since moving a short std::string moves its bytes.
    std::vector<char> storage_;
    std::vector<std::string_view> texts_;
    std::vector<TokenKind> kinds_;
};

}  // namespace exomesh::model
