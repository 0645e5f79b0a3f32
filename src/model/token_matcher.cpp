#include "model/token_matcher.h"

#include <string>

namespace exomesh::model {

namespace {

std::size_t byte_of(char character) {
    return static_cast<std::uint8_t>(character);
}

std::string with_space_marks(std::string_view text) {
    std::string marked;
    for (const char character : text) {
        if (character == ' ') {
            marked += space_mark;
        } else {
            marked += character;
        }
    }
    return marked;
}

}  // namespace

TokenMatcher::TokenMatcher(const TokenTable& table, TokenSpelling spelling) : nodes_(1) {
    const auto count = static_cast<TokenId>(table.size());
    for (TokenId token = 0; token < count; ++token) {
        const bool is_control = table.is_control(token);
        if (!is_control && table.kind(token) != TokenKind::user_defined) continue;
        const std::string_view text = table.text(token);
        if (text.empty()) continue;
        auto found_from = SpecialTokens::as_message;
        if (is_control) found_from = SpecialTokens::parsed;
        if (table.is_turn_mark(token)) found_from = SpecialTokens::as_text;
        add(text, token, found_from);
        if (spelling == TokenSpelling::sentence_piece && !is_control && text.contains(' ')) {
            add(with_space_marks(text), token, found_from);
        }
    }
}

void TokenMatcher::add(std::string_view text, TokenId token, SpecialTokens found_from) {
    std::uint32_t node = 0;
    for (const char character : text) {
        const std::uint64_t key = std::uint64_t{node} << 8 | byte_of(character);
        if (const std::uint32_t* const child = children_.find(key); child != nullptr) {
            node = *child;
        } else {
            node = static_cast<std::uint32_t>(nodes_.size());
            nodes_.emplace_back();
            children_.insert(key, node);
        }
    }
    if (nodes_[node].token == token_none) nodes_[node] = {token, found_from};
    const std::size_t first = byte_of(text[0]) << 8;
    if (text.size() > 1) {
        first_two_bytes_.set(first | byte_of(text[1]));
        return;
    }
    for (std::size_t second = 0; second < 256; ++second) first_two_bytes_.set(first | second);
}

TokenMatcher::Match TokenMatcher::find(std::string_view text, std::size_t from,
                                       SpecialTokens special) const {
    if (nodes_.size() == 1) return {};
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        // At the text's last byte any second byte will do: the trie decides.
        const std::size_t second = begin + 1 < text.size() ? byte_of(text[begin + 1]) : 0;
        const bool is_last = begin + 1 == text.size();
        if (!is_last && !first_two_bytes_.test(byte_of(text[begin]) << 8 | second)) continue;
        const Match match = match_at(text, begin, special);
        if (match.token != token_none) return match;
    }
    return {};
}

TokenMatcher::Match TokenMatcher::match_at(std::string_view text, std::size_t begin,
                                           SpecialTokens special) const {
    Match longest;
    std::uint32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
        const std::uint32_t* const child =
            children_.find(std::uint64_t{node} << 8 | byte_of(text[i]));
        if (child == nullptr) break;
        node = *child;
        const Node& found = nodes_[node];
        if (found.token == token_none) continue;
        if (special < found.found_from) continue;
        longest = {begin, i + 1, found.token};
    }
    return longest;
}

}  // namespace exomesh::model
