#include "model/sentence_piece_encoder.h"

#include <algorithm>
#include <format>
#include <functional>
#include <limits>
#include <numeric>

#include "model/utf8.h"

namespace exomesh::model {

namespace {

constexpr std::uint32_t no_position = std::numeric_limits<std::uint32_t>::max();

// A space behind a character that is none.
std::size_t find_word_end(std::string_view text, std::size_t begin) {
    std::size_t end = text.find_first_not_of(' ', begin);
    if (end == std::string_view::npos) return text.size();
    end = text.find(' ', end);
    return end == std::string_view::npos ? text.size() : end;
}

bool may_join(TokenKind kind) {
    return kind == TokenKind::normal || kind == TokenKind::user_defined ||
           kind == TokenKind::unused;
}

}  // namespace

// A symbol is a part of the word; its position is the number of the character it starts with.
struct SentencePieceEncoder::Scratch {
    struct Symbol {
        std::uint32_t begin = 0;
        std::uint32_t size = 0;  // 0: it was joined to the symbol before it
        std::uint32_t previous = no_position;
        std::uint32_t next = no_position;
        TokenId token = token_none;
        TokenId joined = token_none;  // with the next symbol
    };
    std::vector<Symbol> symbols;
    // rank * 2^32 + position, least first. Stale where the pair at the position has another rank.
    std::vector<std::uint64_t> queue;
};

SentencePieceEncoder::SentencePieceEncoder(const TokenTable& table, TokenId unknown)
    : texts_(table.texts(), table.size()), unknown_(unknown) {
    token_of_byte_.fill(token_none);
}

Result<SentencePieceEncoder> SentencePieceEncoder::create(const TokenTable& table,
                                                          const std::vector<double>& scores,
                                                          TokenId unknown) {
    if (scores.size() != table.size()) {
        return fail(ErrorCode::corrupt_data,
                    std::format("tokenizer.ggml.scores has {} entries for {} tokens.",
                                scores.size(), table.size()),
                    "The model file is damaged: download it again.");
    }
    SentencePieceEncoder encoder(table, unknown);
    const auto count = static_cast<TokenId>(table.size());
    for (TokenId token = 0; token < count; ++token) {
        const std::string_view text = table.text(token);
        const TokenKind kind = table.kind(token);
        if (kind == TokenKind::byte && text.size() == 1) {
            encoder.token_of_byte_[static_cast<std::uint8_t>(text[0])] = token;
        }
        if (!may_join(kind) || table.is_turn_mark(token) || text.empty()) continue;
        encoder.texts_.insert(token);
        if (find_word_end(text, 0) != text.size()) encoder.merges_stay_in_words_ = false;
    }
    for (unsigned ascii = 0; ascii < encoder.token_of_ascii_.size(); ++ascii) {
        const char text = static_cast<char>(ascii);
        encoder.token_of_ascii_[ascii] = encoder.texts_.find(std::string_view(&text, 1));
    }
    // Scores as integers, so that an entry of the queue is one. Equal scores share a rank: the
    // leftmost pair goes first.
    std::vector<TokenId> order(table.size());
    std::ranges::iota(order, TokenId{0});
    const auto score = [&](TokenId token) {
        const double value = scores[static_cast<std::size_t>(token)];
        return value == value ? value : -std::numeric_limits<double>::infinity();
    };
    const auto is_better = [&](TokenId a, TokenId b) { return score(a) > score(b); };
    if (!std::ranges::is_sorted(order, is_better)) std::ranges::sort(order, is_better);
    encoder.ranks_.resize(table.size());
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
        encoder.ranks_[static_cast<std::size_t>(order[i])] = rank;
    }
    return encoder;
}

void SentencePieceEncoder::encode(std::string_view text, std::vector<TokenId>& tokens) const {
    Scratch scratch;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = merges_stay_in_words_ ? find_word_end(text, begin) : text.size();
        encode_word(text.substr(begin, end - begin), scratch, tokens);
        begin = end;
    }
}

void SentencePieceEncoder::rank_pair(std::uint32_t left, std::string_view word,
                                     Scratch& scratch) const {
    auto& symbol = scratch.symbols[left];
    symbol.joined = token_none;
    if (symbol.next == no_position) return;
    const std::uint32_t size = symbol.size + scratch.symbols[symbol.next].size;
    symbol.joined = texts_.find(word.substr(symbol.begin, size));
    if (symbol.joined == token_none) return;
    const std::uint64_t rank = ranks_[static_cast<std::size_t>(symbol.joined)];
    scratch.queue.push_back(rank << 32 | left);
}

void SentencePieceEncoder::encode_word(std::string_view word, Scratch& scratch,
                                       std::vector<TokenId>& tokens) const {
    auto& [symbols, queue] = scratch;
    symbols.clear();
    queue.clear();
    for (std::size_t begin = 0; begin < word.size();) {
        const auto first = static_cast<std::uint8_t>(word[begin]);
        const bool is_ascii = first < token_of_ascii_.size();
        const std::size_t size =
            is_ascii ? 1 : std::max<std::size_t>(utf8_sequence_length(word, begin), 1);
        const auto position = static_cast<std::uint32_t>(symbols.size());
        symbols.push_back(
            {.begin = static_cast<std::uint32_t>(begin),
             .size = static_cast<std::uint32_t>(size),
             .previous = position == 0 ? no_position : position - 1,
             .next = begin + size < word.size() ? position + 1 : no_position,
             .token = is_ascii ? token_of_ascii_[first] : texts_.find(word.substr(begin, size))});
        begin += size;
    }
    for (std::uint32_t i = 0; i < symbols.size(); ++i) rank_pair(i, word, scratch);
    std::ranges::make_heap(queue, std::greater{});
    const auto rank_again = [&](std::uint32_t position) {
        const std::size_t count = queue.size();
        rank_pair(position, word, scratch);
        if (queue.size() > count) std::ranges::push_heap(queue, std::greater{});
    };
    while (!queue.empty()) {
        std::ranges::pop_heap(queue, std::greater{});
        const std::uint64_t entry = queue.back();
        queue.pop_back();
        const auto position = static_cast<std::uint32_t>(entry);
        auto& left = symbols[position];
        if (left.size == 0 || left.joined == token_none) continue;
        if (ranks_[static_cast<std::size_t>(left.joined)] != entry >> 32) continue;
        auto& right = symbols[left.next];
        left.size += right.size;
        left.token = left.joined;
        left.next = right.next;
        right.size = 0;
        if (left.next != no_position) symbols[left.next].previous = position;
        rank_again(position);
        if (left.previous != no_position) rank_again(left.previous);
    }
    for (std::uint32_t i = 0; i < symbols.size(); ++i) {
        if (symbols[i].size == 0) continue;
        append_symbol(word.substr(symbols[i].begin, symbols[i].size), symbols[i].token, tokens);
    }
}

void SentencePieceEncoder::append_symbol(std::string_view symbol, TokenId token,
                                         std::vector<TokenId>& tokens) const {
    if (token != token_none) {
        tokens.push_back(token);
        return;
    }
    const auto byte_token = [&](char byte) {
        return token_of_byte_[static_cast<std::uint8_t>(byte)];
    };
    if (std::ranges::none_of(symbol, [&](char byte) { return byte_token(byte) == token_none; })) {
        for (const char byte : symbol) tokens.push_back(byte_token(byte));
        return;
    }
    if (unknown_ == token_none || (!tokens.empty() && tokens.back() == unknown_)) return;
    tokens.push_back(unknown_);
}

}  // namespace exomesh::model
