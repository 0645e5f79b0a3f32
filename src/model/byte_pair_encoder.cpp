#include "model/byte_pair_encoder.h"

#include <algorithm>
#include <format>
#include <functional>
#include <limits>

#include "model/byte_level.h"

namespace exomesh::model {

namespace {

constexpr std::uint32_t no_rank = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint32_t no_position = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t merge_count_max = 1 << 22;
// Up to here looking through all pairs for the best is faster than keeping a queue of them.
constexpr std::size_t short_word_tokens_max = 48;

std::uint64_t pair_key(TokenId left, TokenId right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
}

}  // namespace

BytePairEncoder::BytePairEncoder(const TokenTable& table, WholeWords whole_words)
    : whole_words_(whole_words), texts_(table.texts(), table.size()) {}

Result<BytePairEncoder> BytePairEncoder::create(const TokenTable& table,
                                                const std::vector<std::string>& merges,
                                                WholeWords whole_words) {
    if (merges.size() > merge_count_max) {
        return fail(ErrorCode::resource_exhausted,
                    std::format("the vocabulary has {} merges; at most {} are supported.",
                                merges.size(), merge_count_max));
    }
    BytePairEncoder encoder(table, whole_words);
    encoder.add_tokens(table);
    encoder.add_merges(merges);
    return encoder;
}

void BytePairEncoder::add_tokens(const TokenTable& table) {
    const auto count = static_cast<TokenId>(table.size());
    // Ordinary tokens first: where an added token has the same bytes, the ordinary one is meant.
    for (TokenId token = 0; token < count; ++token) {
        if (table.kind(token) == TokenKind::normal) texts_.insert(token);
    }
    for (TokenId token = 0; token < count; ++token) {
        const TokenKind kind = table.kind(token);
        if (table.is_turn_mark(token)) continue;
        if (kind == TokenKind::user_defined || kind == TokenKind::unused) texts_.insert(token);
    }
    for (unsigned byte = 0; byte < token_of_byte_.size(); ++byte) {
        const char text = static_cast<char>(byte);
        token_of_byte_[byte] = texts_.find(std::string_view(&text, 1));
    }
}

// Most of the time here is waiting for memory: the tables are far larger than the processor's
// caches. So the merges go through in blocks, and a block's look-ups wait together.
void BytePairEncoder::add_merges(const std::vector<std::string>& merges) {
    struct Written {
        std::uint32_t rank = 0;
        std::size_t begin = 0;  // in `bytes`
        std::size_t left_size = 0;
        std::size_t size = 0;
    };
    constexpr std::size_t block_size = 32;
    merges_ = IntegerTable<Merge>(merges.size());
    std::string bytes;
    std::vector<Written> block;
    const auto text_of = [&](const Written& merge) {
        return std::string_view(bytes).substr(merge.begin, merge.size);
    };
    for (std::size_t rank = 0; rank < merges.size();) {
        bytes.clear();
        block.clear();
        for (; rank < merges.size() && block.size() < block_size; ++rank) {
            const std::string_view written = merges[rank];
            const std::size_t space = written.find(' ', 1);
            if (space == std::string_view::npos) continue;
            Written merge{.rank = static_cast<std::uint32_t>(rank), .begin = bytes.size()};
            if (!append_byte_level(written.substr(0, space), bytes)) continue;
            merge.left_size = bytes.size() - merge.begin;
            if (!append_byte_level(written.substr(space + 1), bytes)) continue;
            merge.size = bytes.size() - merge.begin;
            block.push_back(merge);
        }
        for (const Written& merge : block) {
            texts_.prefetch(text_of(merge));
            texts_.prefetch(text_of(merge).substr(0, merge.left_size));
            texts_.prefetch(text_of(merge).substr(merge.left_size));
        }
        for (const Written& merge : block) add_merge(merge.rank, text_of(merge), merge.left_size);
    }
}

void BytePairEncoder::add_merge(std::uint32_t rank, std::string_view text, std::size_t left_size) {
    const TokenId left = texts_.find(text.substr(0, left_size));
    const TokenId right = texts_.find(text.substr(left_size));
    const TokenId merged = texts_.find(text);
    if (left == token_none || right == token_none || merged == token_none) return;
    merges_.insert(pair_key(left, right), {rank, merged});
}

const BytePairEncoder::Merge* BytePairEncoder::find_merge(TokenId left, TokenId right) const {
    return merges_.find(pair_key(left, right));
}

std::uint32_t BytePairEncoder::rank_of(TokenId left, TokenId right) const {
    const Merge* const merge = find_merge(left, right);
    return merge == nullptr ? no_rank : merge->rank;
}

void BytePairEncoder::encode(std::string_view word, Scratch& scratch,
                             std::vector<TokenId>& tokens) const {
    if (whole_words_ == WholeWords::looked_up) {
        if (const TokenId token = texts_.find(word); token != token_none) {
            tokens.push_back(token);
            return;
        }
    }
    scratch.tokens.clear();
    for (const char byte : word) {
        const TokenId token = token_of_byte_[static_cast<std::uint8_t>(byte)];
        if (token != token_none) scratch.tokens.push_back(token);
    }
    if (scratch.tokens.size() < 2) {
        tokens.insert(tokens.end(), scratch.tokens.begin(), scratch.tokens.end());
    } else if (scratch.tokens.size() <= short_word_tokens_max) {
        encode_short(scratch, tokens);
    } else {
        encode_long(scratch, tokens);
    }
}

// Arrays that close up after each merge: a word of a few bytes stays in one cache line.
void BytePairEncoder::encode_short(Scratch& scratch, std::vector<TokenId>& tokens) const {
    std::array<TokenId, short_word_tokens_max> symbols;
    std::array<std::uint32_t, short_word_tokens_max> ranks;
    std::size_t count = scratch.tokens.size();
    std::ranges::copy(scratch.tokens, symbols.begin());
    for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = rank_of(symbols[i], symbols[i + 1]);
    while (count > 1) {
        const auto best = std::min_element(ranks.begin(), ranks.begin() + count - 1);
        if (*best == no_rank) break;
        const auto at = static_cast<std::size_t>(best - ranks.begin());
        symbols[at] = find_merge(symbols[at], symbols[at + 1])->token;
        std::copy(symbols.begin() + at + 2, symbols.begin() + count, symbols.begin() + at + 1);
        std::copy(ranks.begin() + at + 1, ranks.begin() + count - 1, ranks.begin() + at);
        --count;
        if (at > 0) ranks[at - 1] = rank_of(symbols[at - 1], symbols[at]);
        if (at + 1 < count) ranks[at] = rank_of(symbols[at], symbols[at + 1]);
    }
    tokens.insert(tokens.end(), symbols.begin(), symbols.begin() + count);
}

// A linked list of tokens and a queue of pairs, each entry rank * 2^32 + position. An entry is
// stale, and skipped, where the pair at its position has another rank by now.
void BytePairEncoder::encode_long(Scratch& scratch, std::vector<TokenId>& tokens) const {
    auto& [symbols, ranks, next, previous, queue] = scratch;
    const auto count = static_cast<std::uint32_t>(symbols.size());
    ranks.assign(count, no_rank);
    next.resize(count);
    previous.resize(count);
    queue.clear();
    const auto entry = [&](std::uint32_t position) {
        return static_cast<std::uint64_t>(ranks[position]) << 32 | position;
    };
    for (std::uint32_t i = 0; i < count; ++i) {
        next[i] = i + 1 < count ? i + 1 : no_position;
        previous[i] = i > 0 ? i - 1 : no_position;
        if (i + 1 < count) ranks[i] = rank_of(symbols[i], symbols[i + 1]);
        if (ranks[i] != no_rank) queue.push_back(entry(i));
    }
    std::ranges::make_heap(queue, std::greater{});
    const auto rank_again = [&](std::uint32_t position) {
        const std::uint32_t right = next[position];
        ranks[position] =
            right == no_position ? no_rank : rank_of(symbols[position], symbols[right]);
        if (ranks[position] == no_rank) return;
        queue.push_back(entry(position));
        std::ranges::push_heap(queue, std::greater{});
    };
    while (!queue.empty()) {
        std::ranges::pop_heap(queue, std::greater{});
        const auto rank = static_cast<std::uint32_t>(queue.back() >> 32);
        const auto left = static_cast<std::uint32_t>(queue.back());
        queue.pop_back();
        if (ranks[left] != rank) continue;
        const std::uint32_t right = next[left];
        symbols[left] = find_merge(symbols[left], symbols[right])->token;
        ranks[right] = no_rank;
        next[left] = next[right];
        if (next[left] != no_position) previous[next[left]] = left;
        rank_again(left);
        if (previous[left] != no_position) rank_again(previous[left]);
    }
    for (std::uint32_t i = 0; i != no_position; i = next[i]) tokens.push_back(symbols[i]);
}

}  // namespace exomesh::model
