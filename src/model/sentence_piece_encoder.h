// SentencePiece's byte-pair encoding (Kudo and Richardson, arXiv 1808.06226): the text starts as
// its characters, and the neighbouring pair whose joined text is the best-scored token becomes one,
// until no pair is a token. Characters without a token become byte tokens. Internal to the
// tokenizer; thread-safe after creation.
#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/hash_table.h"
#include "model/token_table.h"
#include "model/tokenizer.h"

namespace exomesh::model {

class SentencePieceEncoder {
  public:
    // `scores`: one a token. `unknown` may be token_none. `table` must outlive the encoder.
    [[nodiscard]] static Result<SentencePieceEncoder> create(const TokenTable& table,
                                                             const std::vector<double>& scores,
                                                             TokenId unknown);

    // What encoding needs for the time of one text, so that words do not allocate.
    struct Scratch;

    // Appends the tokens of `text`. A character without token or byte token becomes the unknown
    // token (a run of them, one), or nothing where the model has none. A byte that is no valid
    // UTF-8 is a character of its own. O(n log n).
    void encode(std::string_view text, std::vector<TokenId>& tokens) const;

  private:
    SentencePieceEncoder(const TokenTable& table, TokenId unknown);
    void encode_word(std::string_view word, Scratch& scratch, std::vector<TokenId>& tokens) const;
    void rank_pair(std::uint32_t left, std::string_view word, Scratch& scratch) const;
    void append_symbol(std::string_view symbol, TokenId token, std::vector<TokenId>& tokens) const;

    TextTable texts_;
    std::array<TokenId, 128> token_of_ascii_{};
    std::vector<std::uint32_t> ranks_;  // of each token: the best score has the lowest
    std::array<TokenId, 256> token_of_byte_{};
    TokenId unknown_;
    // True where no token goes on with a space behind another character: no merge can then cross
    // the border of a word and the space before the next, and words are encoded one by one.
    bool merges_stay_in_words_ = true;
};

}  // namespace exomesh::model
