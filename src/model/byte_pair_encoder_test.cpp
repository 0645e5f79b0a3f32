#include "model/byte_pair_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "model/byte_level.h"
#include "model/sentence_piece_encoder.h"
#include "model/testing/vocabulary.h"
#include "model/utf8.h"

namespace exomesh::model {
namespace {

using Pieces = std::vector<std::string>;

std::string random_text(std::mt19937_64& random, std::size_t size_max) {
    const std::string_view sample = testing::sample_text();
    std::string text;
    const std::size_t size = 1 + random() % size_max;
    while (text.size() < size) {
        switch (random() % 4) {
            case 0:
                text += static_cast<char>(random() % 256);
                break;
            case 1:
                text += std::string(random() % 20, "a b"[random() % 3]);
                break;
            default:
                text += sample.substr(random() % sample.size(), random() % 30);
        }
    }
    return text;
}

// The definition, word for word: join the best neighbours, the leftmost of equals, until none is
// left.
template <typename Rank>
Pieces join_by_definition(Pieces pieces, const Rank& rank) {
    for (;;) {
        std::size_t best = pieces.size();
        double best_rank = 0;
        for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
            const auto candidate = rank(pieces[i], pieces[i + 1]);
            if (candidate && (best == pieces.size() || *candidate < best_rank)) {
                best = i;
                best_rank = *candidate;
            }
        }
        if (best == pieces.size()) return pieces;
        pieces[best] += pieces[best + 1];
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
}

TEST(BytePairEncoder, joins_as_the_definition_says) {
    const auto vocabulary = testing::byte_level_vocabulary(400);
    const Gguf gguf = testing::gguf_of(vocabulary.writer("gpt-2"));
    const auto table = TokenTable::read(gguf, TokenSpelling::byte_level);
    ASSERT_TRUE(table);
    const auto encoder = BytePairEncoder::create(*table, vocabulary.merges, WholeWords::merged);
    ASSERT_TRUE(encoder);
    std::map<std::pair<std::string, std::string>, double> ranks;
    for (const std::string& merge : vocabulary.merges) {
        std::string left;
        std::string right;
        const std::size_t space = merge.find(' ');
        ASSERT_TRUE(append_byte_level(merge.substr(0, space), left));
        ASSERT_TRUE(append_byte_level(merge.substr(space + 1), right));
        ranks.try_emplace({left, right}, static_cast<double>(ranks.size()));
    }
    const auto rank = [&](const std::string& left, const std::string& right) {
        const auto found = ranks.find({left, right});
        return found == ranks.end() ? std::nullopt : std::optional(found->second);
    };
    std::mt19937_64 random(1);
    BytePairEncoder::Scratch scratch;
    for (int run = 0; run < 2000; ++run) {
        const std::string word = random_text(random, run % 2 == 0 ? 20 : 200);
        Pieces bytes;
        for (const char byte : word) bytes.emplace_back(1, byte);
        std::vector<TokenId> tokens;
        encoder->encode(word, scratch, tokens);
        Pieces pieces;
        for (const TokenId token : tokens) pieces.emplace_back(table->text(token));
        ASSERT_EQ(pieces, join_by_definition(bytes, rank)) << word;
    }
}

TEST(BytePairEncoder, whole_words_are_looked_up_where_the_family_says_so) {
    testing::Vocabulary vocabulary;
    for (const char* token : {"a", "b", "c", "ab", "abc"}) {
        vocabulary.add(token, testing::type_normal);
    }
    vocabulary.merges = {"a b"};  // "abc" cannot be reached by merges
    const Gguf gguf = testing::gguf_of(vocabulary.writer("gpt-2"));
    const auto table = TokenTable::read(gguf, TokenSpelling::byte_level);
    ASSERT_TRUE(table);
    const auto tokens_of = [&](WholeWords whole_words) {
        std::vector<TokenId> tokens;
        BytePairEncoder::Scratch scratch;
        BytePairEncoder::create(*table, vocabulary.merges, whole_words)
            ->encode("abc", scratch, tokens);
        return tokens;
    };
    EXPECT_EQ(tokens_of(WholeWords::merged), (std::vector<TokenId>{3, 2}));
    EXPECT_EQ(tokens_of(WholeWords::looked_up), (std::vector<TokenId>{4}));
}

TEST(ByteLevel, reads_back_every_byte) {
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
    std::string read;
    EXPECT_TRUE(append_byte_level(to_byte_level(bytes), read));
    EXPECT_EQ(read, bytes);
    EXPECT_EQ(to_byte_level(" \n"), "ĠĊ");
    EXPECT_FALSE(append_byte_level("字", read));
    EXPECT_FALSE(append_byte_level(" ", read));
    EXPECT_FALSE(append_byte_level("\xC4", read));
}

void expect_sentence_pieces_as_defined(const testing::Vocabulary& vocabulary) {
    const Gguf gguf = testing::gguf_of(vocabulary.writer(""));
    const auto table = TokenTable::read(gguf, TokenSpelling::sentence_piece);
    ASSERT_TRUE(table);
    const std::vector<double> scores(vocabulary.scores.begin(), vocabulary.scores.end());
    const auto encoder = SentencePieceEncoder::create(*table, scores, 0);
    ASSERT_TRUE(encoder);
    std::map<std::string, double, std::less<>> ranks;
    for (TokenId token = 0; token < static_cast<TokenId>(table->size()); ++token) {
        if (table->is_control(token) || table->kind(token) == TokenKind::byte) continue;
        ranks.try_emplace(std::string(table->text(token)), -scores[token]);
    }
    const auto rank = [&](const std::string& left, const std::string& right) {
        const auto found = ranks.find(left + right);
        return found == ranks.end() ? std::nullopt : std::optional(found->second);
    };
    std::mt19937_64 random(1);
    for (int run = 0; run < 2000; ++run) {
        const std::string text = random_text(random, 100);
        Pieces characters;
        for (std::size_t i = 0; i < text.size();) {
            const std::size_t size = std::max<std::size_t>(utf8_sequence_length(text, i), 1);
            characters.push_back(text.substr(i, size));
            i += size;
        }
        Pieces expected;
        for (const std::string& piece : join_by_definition(characters, rank)) {
            if (ranks.contains(piece)) {
                expected.push_back(piece);
            } else {
                for (const char byte : piece) expected.emplace_back(1, byte);
            }
        }
        std::vector<TokenId> tokens;
        encoder->encode(text, tokens);
        Pieces pieces;
        for (const TokenId token : tokens) pieces.emplace_back(table->text(token));
        ASSERT_EQ(pieces, expected) << text;
    }
}

TEST(SentencePieceEncoder, joins_as_the_definition_says) {
    expect_sentence_pieces_as_defined(testing::sentence_piece_vocabulary(400));
}

TEST(SentencePieceEncoder, joins_across_words_where_the_vocabulary_does) {
    auto vocabulary = testing::sentence_piece_vocabulary(400);
    vocabulary.add("e▁", testing::type_normal, 1.0F);
    vocabulary.add("the▁quick", testing::type_normal, 2.0F);
    expect_sentence_pieces_as_defined(vocabulary);
}

TEST(SentencePieceEncoder, equal_scores_join_from_the_left) {
    auto vocabulary = testing::sentence_piece_vocabulary(400);
    for (float& score : vocabulary.scores) score = std::trunc(score / 50);
    expect_sentence_pieces_as_defined(vocabulary);
}

TEST(SentencePieceEncoder, without_byte_tokens_a_run_of_strangers_is_one_unknown) {
    testing::Vocabulary vocabulary;
    vocabulary.add("<unk>", testing::type_unknown);
    vocabulary.add("a", testing::type_normal);
    const Gguf gguf = testing::gguf_of(vocabulary.writer(""));
    const auto table = TokenTable::read(gguf, TokenSpelling::sentence_piece);
    ASSERT_TRUE(table);
    std::vector<TokenId> tokens;
    SentencePieceEncoder::create(*table, {0, 0}, 0)
        ->encode(
            "xya字\xFF"
            "a",
            tokens);
    EXPECT_EQ(tokens, (std::vector<TokenId>{0, 1, 0, 1}));
    tokens.clear();
    SentencePieceEncoder::create(*table, {0, 0}, token_none)->encode("xya", tokens);
    EXPECT_EQ(tokens, (std::vector<TokenId>{1}));
}

}  // namespace
}  // namespace exomesh::model
