#include "model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "model/testing/vocabulary.h"
#include "model/token_table.h"

namespace exomesh::model {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using Tokens = std::vector<TokenId>;

Tokenizer make(const testing::GgufWriter& writer) {
    auto tokenizer = Tokenizer::create(testing::gguf_of(writer));
    EXPECT_TRUE(tokenizer) << tokenizer.error().text();
    return std::move(*tokenizer);
}

Tokenizer byte_level() {
    return make(testing::byte_level_vocabulary(300).writer("qwen2").add(
        "tokenizer.ggml.eos_token_id", std::uint32_t{5}));
}

Tokenizer sentence_piece() {
    return make(testing::sentence_piece_vocabulary(300).writer(""));
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, const Tokens& tokens) {
    std::vector<std::string> pieces;
    for (const TokenId token : tokens) pieces.emplace_back(tokenizer.piece_with_specials(token));
    return pieces;
}

Tokens encode(const Tokenizer& tokenizer, std::string_view text,
              SpecialTokens special = SpecialTokens::parsed) {
    return tokenizer.encode(text, special, SequenceStart::none);
}

TEST(Tokenizer, byte_level_text_comes_back) {
    const Tokenizer tokenizer = byte_level();
    std::mt19937_64 random(1);
    const std::string_view sample = testing::sample_text();
    for (int run = 0; run < 2000; ++run) {
        std::string text;
        for (int part = 0; part < 4; ++part) {
            text += sample.substr(random() % sample.size(), random() % 20);
            if (run % 2 == 1) text += static_cast<char>(random());  // mostly invalid UTF-8
        }
        EXPECT_EQ(tokenizer.decode(encode(tokenizer, text, SpecialTokens::as_text)), text);
    }
    EXPECT_EQ(encode(tokenizer, ""), Tokens{});
}

TEST(Tokenizer, sentence_piece_text_comes_back) {
    const Tokenizer tokenizer = sentence_piece();
    for (const std::string text : {"Hello there", " two  spaces ", "字 😀 \n\n[image]", "\xFF"}) {
        EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), text);
    }
    EXPECT_THAT(pieces_of(tokenizer, encode(tokenizer, "the\u2581the")),
                ElementsAre(" the", " the"));
    EXPECT_THAT(pieces_of(tokenizer, encode(tokenizer, "€")),
                ElementsAre(" ", "\xE2", "\x82", "\xAC"));
}

TEST(Tokenizer, a_space_goes_in_front_unless_the_file_says_no) {
    EXPECT_THAT(pieces_of(sentence_piece(), encode(sentence_piece(), "the")), ElementsAre(" the"));
    // Behind a token matched in the text there is one too, as Hugging Face's normalizer has it.
    EXPECT_THAT(pieces_of(sentence_piece(), encode(sentence_piece(), "the</s>the")),
                ElementsAre(" the", "</s>", " the"));
    const Tokenizer without = make(testing::sentence_piece_vocabulary(300).writer("").add(
        "tokenizer.ggml.add_space_prefix", false));
    EXPECT_THAT(pieces_of(without, encode(without, "the")), ElementsAre("t", "h", "e"));
    EXPECT_EQ(without.decode(encode(without, " x")), " x");
}

TEST(Tokenizer, a_space_goes_in_front_of_a_stretch_only_behind_a_token) {
    const Tokenizer tokenizer = sentence_piece();
    const auto stretch = [](std::string_view text, SpecialTokens special) {
        return TextStretch{text, special};
    };
    const auto split = {stretch("the", SpecialTokens::parsed),
                        stretch("</s>", SpecialTokens::as_message),
                        stretch("the", SpecialTokens::parsed)};
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(split, SequenceStart::none)), "the</s>the");
    const auto behind = {stretch("the</s>", SpecialTokens::parsed),
                         stretch("the", SpecialTokens::as_message)};
    EXPECT_THAT(pieces_of(tokenizer, tokenizer.encode(behind, SequenceStart::none)),
                ElementsAre(" the", "</s>", " the"));
}

TEST(Tokenizer, marks_of_turns_are_kept_from_messages) {
    auto vocabulary = testing::byte_level_vocabulary(10);
    const TokenId end = vocabulary.add("<|end|>", testing::type_user_defined);
    const TokenId user = vocabulary.add("<|user|>", testing::type_user_defined);
    const TokenId wide = vocabulary.add("<｜User｜>", testing::type_user_defined);
    const TokenId code = vocabulary.add("<code>", testing::type_user_defined);
    const Tokenizer tokenizer = make(vocabulary.writer("qwen2"));
    EXPECT_TRUE(tokenizer.is_control(end));  // it ends an answer, so no text may make it
    EXPECT_TRUE(tokenizer.ends_generation(end));
    for (const TokenId token : {end, user, wide}) {
        EXPECT_TRUE(tokenizer.is_kept_from_messages(token));
    }
    EXPECT_FALSE(tokenizer.is_kept_from_messages(code));
    EXPECT_FALSE(tokenizer.is_kept_from_messages(token_none));

    const std::string text = "<|end|><|user|><｜User｜><code>";
    EXPECT_EQ(encode(tokenizer, text), (Tokens{end, user, wide, code}));
    const Tokens as_text = encode(tokenizer, text, SpecialTokens::as_text);
    EXPECT_EQ(Tokens(as_text.end() - 3, as_text.end()), (Tokens{user, wide, code}));
    const Tokens as_message = encode(tokenizer, text, SpecialTokens::as_message);
    EXPECT_EQ(as_message.back(), code);
    for (const TokenId token : as_message) EXPECT_FALSE(tokenizer.is_kept_from_messages(token));
    EXPECT_EQ(tokenizer.decode(as_message), text);
}

TEST(Tokenizer, control_tokens_are_parsed_only_on_request) {
    const Tokenizer tokenizer = byte_level();
    const std::string text = "a<|im_end|>2<|im_end|><think>";
    EXPECT_THAT(pieces_of(tokenizer, encode(tokenizer, text)),
                ElementsAre("a", "<|im_end|>2", "<|im_end|>", "<think>"));
    const Tokens as_text = encode(tokenizer, text, SpecialTokens::as_text);
    for (const TokenId token : as_text) EXPECT_FALSE(tokenizer.is_control(token));
    EXPECT_EQ(tokenizer.piece(as_text.back()), "<think>");
    EXPECT_EQ(tokenizer.decode(as_text), text);
    EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), "a<think>");
}

TEST(Tokenizer, no_merge_makes_a_control_token) {
    auto vocabulary = testing::byte_level_vocabulary(0);
    vocabulary.add("<|", testing::type_normal);
    vocabulary.add("<|e", testing::type_control);
    vocabulary.merges = {"< |", "<| e"};
    for (const char* family : {"qwen2", "llama-bpe"}) {  // merging, and looking words up
        const Tokenizer tokenizer = make(vocabulary.writer(family));
        for (const TokenId token : encode(tokenizer, "<|e", SpecialTokens::as_text)) {
            EXPECT_FALSE(tokenizer.is_control(token));
        }
        EXPECT_EQ(tokenizer.decode(encode(tokenizer, "<|e", SpecialTokens::as_text)), "<|e");
    }
    auto marks = testing::byte_level_vocabulary(0);
    marks.add("<|", testing::type_normal);
    marks.add("<||>", testing::type_user_defined);
    marks.add("|>", testing::type_normal);
    marks.merges = {"< |", "| >", "<| |>"};
    for (const char* family : {"qwen2", "llama-bpe"}) {
        const Tokenizer tokenizer = make(marks.writer(family));
        for (const TokenId token : encode(tokenizer, "<||>", SpecialTokens::as_message)) {
            EXPECT_FALSE(tokenizer.is_kept_from_messages(token));
        }
    }
    auto pieces = testing::sentence_piece_vocabulary(0);
    pieces.add("th", testing::type_control, 10.0F);
    const Tokenizer tokenizer = make(pieces.writer(""));
    for (const TokenId token : encode(tokenizer, "the <s> <unk>", SpecialTokens::as_text)) {
        EXPECT_FALSE(tokenizer.is_control(token));
    }
}

TEST(Tokenizer, the_beginning_goes_in_front_where_the_model_wants_it) {
    const auto vocabulary = testing::byte_level_vocabulary(10);
    const auto starts = [](const Tokenizer& tokenizer) {
        return tokenizer.encode("a", SpecialTokens::parsed, SequenceStart::as_model_wants).size() ==
               2;
    };
    const std::uint32_t bos = 7;
    EXPECT_FALSE(starts(make(vocabulary.writer("qwen2"))));
    EXPECT_FALSE(starts(make(vocabulary.writer("qwen2").add("tokenizer.ggml.bos_token_id", bos))));
    EXPECT_TRUE(
        starts(make(vocabulary.writer("llama-bpe").add("tokenizer.ggml.bos_token_id", bos))));
    EXPECT_FALSE(starts(make(vocabulary.writer("llama-bpe")
                                 .add("tokenizer.ggml.bos_token_id", bos)
                                 .add("tokenizer.ggml.add_bos_token", false))));
    EXPECT_TRUE(starts(make(vocabulary.writer("qwen2")
                                .add("tokenizer.ggml.bos_token_id", bos)
                                .add("tokenizer.ggml.add_bos_token", true))));
    const Tokenizer pieces = sentence_piece();
    EXPECT_EQ(pieces.encode("", SpecialTokens::parsed, SequenceStart::as_model_wants), Tokens{1});
    EXPECT_EQ(pieces.beginning_of_sequence(), 1);
    EXPECT_EQ(pieces.end_of_sequence(), 2);
    EXPECT_EQ(pieces.unknown(), 0);
}

TEST(Tokenizer, knows_what_ends_an_answer) {
    const Tokenizer tokenizer = byte_level();
    const TokenId im_end = encode(tokenizer, "<|im_end|>").front();
    EXPECT_TRUE(tokenizer.ends_generation(5));
    EXPECT_TRUE(tokenizer.ends_generation(im_end));
    EXPECT_FALSE(tokenizer.ends_generation(im_end - 1));
    EXPECT_FALSE(tokenizer.ends_generation(token_none));

    auto harmony = testing::byte_level_vocabulary(10);
    const TokenId result = harmony.add("<|return|>", testing::type_control);
    const TokenId call = harmony.add("<|call|>", testing::type_control);
    const TokenId end = harmony.add("<|end|>", testing::type_control);
    const Tokenizer gpt_oss = make(harmony.writer("gpt-4o"));
    EXPECT_TRUE(gpt_oss.ends_generation(result));
    EXPECT_TRUE(gpt_oss.ends_generation(call));
    EXPECT_FALSE(gpt_oss.ends_generation(end));

    auto mistyped = testing::byte_level_vocabulary(10);
    const TokenId eot = mistyped.add("<|eot_id|>", testing::type_normal);
    EXPECT_TRUE(make(mistyped.writer("qwen2")).is_control(eot));
    EXPECT_TRUE(make(mistyped.writer("qwen2")).ends_generation(eot));
}

TEST(Tokenizer, pieces_of_strange_ids_are_empty) {
    const Tokenizer tokenizer = byte_level();
    for (const TokenId token : {-1, 1 << 30, static_cast<TokenId>(tokenizer.vocabulary_size())}) {
        EXPECT_EQ(tokenizer.piece(token), "");
        EXPECT_EQ(tokenizer.piece_with_specials(token), "");
        EXPECT_FALSE(tokenizer.is_control(token));
    }
    const TokenId control = encode(tokenizer, "<|start|>").front();
    EXPECT_EQ(tokenizer.piece(control), "");
    EXPECT_EQ(tokenizer.piece_with_specials(control), "<|start|>");
    EXPECT_TRUE(tokenizer.is_control(control));
}

TEST(Tokenizer, refuses_what_it_cannot_do) {
    const auto error_of = [](const testing::GgufWriter& writer) {
        const auto tokenizer = Tokenizer::create(testing::gguf_of(writer));
        EXPECT_FALSE(tokenizer);
        if (tokenizer) return Error{};
        // The message is a sentence, also where a hint follows it.
        EXPECT_THAT(tokenizer.error().message, EndsWith("."));
        return tokenizer.error();
    };
    const auto vocabulary = testing::byte_level_vocabulary(10);
    EXPECT_EQ(error_of(testing::GgufWriter()).code, ErrorCode::corrupt_data);
    EXPECT_THAT(error_of(vocabulary.writer("martian")).message, HasSubstr("martian"));
    const auto unigram = error_of(testing::GgufWriter().add("tokenizer.ggml.model", "t5"));
    EXPECT_EQ(unigram.code, ErrorCode::unsupported);
    EXPECT_THAT(unigram.message, HasSubstr("t5"));
    EXPECT_EQ(error_of(testing::GgufWriter().add("tokenizer.ggml.model", "gpt2")).code,
              ErrorCode::corrupt_data);
    for (const auto& [size_max, type] :
         {std::pair(token_text_bytes_max, testing::type_normal),
          std::pair(special_text_bytes_max, testing::type_control)}) {
        auto long_token = vocabulary;
        long_token.add(std::string(size_max + 1, 'x'), type);
        EXPECT_EQ(error_of(long_token.writer("qwen2")).code, ErrorCode::corrupt_data);
        EXPECT_THAT(error_of(long_token.writer("qwen2")).message,
                    HasSubstr(std::to_string(size_max)));
    }
    auto long_trie = vocabulary;
    for (std::size_t i = 0; i <= special_texts_bytes_max / special_text_bytes_max; ++i) {
        const std::string number = std::to_string(i);
        long_trie.add(number + std::string(special_text_bytes_max - number.size(), 'x'),
                      testing::type_user_defined);
    }
    EXPECT_THAT(error_of(long_trie.writer("qwen2")).message, HasSubstr("special tokens"));
    auto fewer_types = vocabulary;
    fewer_types.types.pop_back();
    EXPECT_THAT(error_of(fewer_types.writer("qwen2")).message, HasSubstr("token_type"));
    auto fewer_scores = testing::sentence_piece_vocabulary(10);
    fewer_scores.scores.pop_back();
    EXPECT_THAT(error_of(fewer_scores.writer("")).message, HasSubstr("scores"));
}

// A megabyte of one character is one word in most families: only O(n log n) ends today.
TEST(Tokenizer, a_megabyte_of_one_character_is_no_trap) {
    for (const Tokenizer& tokenizer : {byte_level(), sentence_piece()}) {
        for (const std::string_view unit : {"a", " ", "\n", "字", "\xFF", "<|im_end|", "x"}) {
            std::string text;
            while (text.size() < 1 << 20) text += unit;
            EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), text);
        }
    }
}

Tokenizer real(const char* variable) {
    std::ifstream file(std::getenv(variable), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const auto gguf = Gguf::parse(std::as_bytes(std::span(bytes)));
    EXPECT_TRUE(gguf) << gguf.error().text();
    auto tokenizer = Tokenizer::create(*gguf);
    EXPECT_TRUE(tokenizer) << tokenizer.error().text();
    return std::move(*tokenizer);
}

// The ids below are Hugging Face's.
TEST(Tokenizer, smollm2) {
    if (std::getenv("EXOMESH_TEST_MODEL_SMOLLM2") == nullptr) GTEST_SKIP();
    const Tokenizer tokenizer = real("EXOMESH_TEST_MODEL_SMOLLM2");
    EXPECT_EQ(tokenizer.vocabulary_size(), 49152U);
    EXPECT_EQ(encode(tokenizer, "<|im_start|>user\nIt's 2024!<|im_end|>"),
              (Tokens{1, 4093, 198, 1589, 506, 216, 34, 32, 34, 36, 17, 2}));
    EXPECT_EQ(tokenizer.beginning_of_sequence(), 1);
    EXPECT_EQ(tokenizer.end_of_sequence(), 2);
    EXPECT_TRUE(tokenizer.ends_generation(0));
    EXPECT_TRUE(tokenizer.ends_generation(2));
    EXPECT_FALSE(tokenizer.adds_beginning_of_sequence());
}

TEST(Tokenizer, gemma3) {
    if (std::getenv("EXOMESH_TEST_MODEL_GEMMA3") == nullptr) GTEST_SKIP();
    const Tokenizer tokenizer = real("EXOMESH_TEST_MODEL_GEMMA3");
    EXPECT_EQ(tokenizer.vocabulary_size(), 262144U);
    EXPECT_EQ(tokenizer.encode("The   sky\n\nis 青い <b>", SpecialTokens::as_text,
                               SequenceStart::as_model_wants),
              (Tokens{2, 818, 139, 16012, 108, 511, 88595, 236985, 236743, 200}));
    EXPECT_TRUE(tokenizer.adds_beginning_of_sequence());
    EXPECT_TRUE(tokenizer.ends_generation(1));
    EXPECT_TRUE(tokenizer.ends_generation(106));
}

}  // namespace
}  // namespace exomesh::model
