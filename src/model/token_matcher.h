// Finds the tokens that are matched in the text itself, before any merging: control tokens such as
// "<|im_end|>" and user-defined ones. Internal to the tokenizer; thread-safe after creation.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "model/hash_table.h"
#include "model/token_table.h"
#include "model/tokenizer.h"

namespace exomesh::model {

class TokenMatcher {
  public:
    struct Match {
        std::size_t begin = 0;
        std::size_t end = 0;
        TokenId token = token_none;  // token_none: no match
    };

    // In a SentencePiece vocabulary a user-defined token matches with "▁" in place of its spaces
    // too.
    TokenMatcher(const TokenTable& table, TokenSpelling spelling);

    // The leftmost match from `from` on, the longest of those that start there. O(length of the
    // text gone over × length of the longest token).
    [[nodiscard]] Match find(std::string_view text, std::size_t from, SpecialTokens special) const;

  private:
    struct Node {
        TokenId token = token_none;                        // the token whose text ends here
        SpecialTokens found_from = SpecialTokens::parsed;  // where and beyond it is looked for
    };

    void add(std::string_view text, TokenId token, SpecialTokens found_from);
    [[nodiscard]] Match match_at(std::string_view text, std::size_t begin,
                                 SpecialTokens special) const;

    std::vector<Node> nodes_;               // a trie; the first is its root
    IntegerTable<std::uint32_t> children_;  // node * 256 + byte → node
    std::bitset<65536> first_two_bytes_;    // of any token; one-byte tokens set all 256
};

}  // namespace exomesh::model
