// Byte-level byte-pair encoding (Sennrich et al., arXiv 1508.07909; GPT-2's variant over bytes): a
// word starts as its bytes, and the neighbouring pair with the lowest merge rank becomes one token
// until no pair is in the list. Internal to the tokenizer; thread-safe after creation.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/hash_table.h"
#include "model/token_table.h"
#include "model/tokenizer.h"

namespace exomesh::model {

// Whether a word that is a token as a whole is that token, whatever the merges would make of it
// (`ignore_merges` in Hugging Face's files).
enum class WholeWords { merged, looked_up };

class BytePairEncoder {
  public:
    // `merges`: "left right" in GPT-2's byte alphabet, best first. Merges that name unknown tokens
    // or would make a control token are left out. `table` must outlive the encoder.
    [[nodiscard]] static Result<BytePairEncoder> create(const TokenTable& table,
                                                        const std::vector<std::string>& merges,
                                                        WholeWords whole_words);

    // What encoding needs for the time of one text, so that words do not allocate.
    struct Scratch {
        std::vector<TokenId> tokens;
        std::vector<std::uint32_t> ranks;
        std::vector<std::uint32_t> next;
        std::vector<std::uint32_t> previous;
        std::vector<std::uint64_t> queue;
    };

    // Appends the tokens of one word. Bytes the vocabulary has no token for are left out, as
    // Hugging Face does. O(n log n) in the word's length.
    void encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& tokens) const;

  private:
    struct Merge {
        std::uint32_t rank = 0;
        TokenId token = token_none;
    };

    BytePairEncoder(const TokenTable& table, WholeWords whole_words);
    void add_tokens(const TokenTable& table);
    void add_merges(const std::vector<std::string>& merges);
    void add_merge(std::uint32_t rank, std::string_view text, std::size_t left_size);
    [[nodiscard]] const Merge* find_merge(TokenId left, TokenId right) const;
    [[nodiscard]] std::uint32_t rank_of(TokenId left, TokenId right) const;
    void encode_short(Scratch& scratch, std::vector<TokenId>& tokens) const;
    void encode_long(Scratch& scratch, std::vector<TokenId>& tokens) const;

    WholeWords whole_words_;
    TextTable texts_;
    std::array<TokenId, 256> token_of_byte_{};
    IntegerTable<Merge> merges_;
};

}  // namespace exomesh::model
