#include "model/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace exomesh::model {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> words_of(std::string_view family_name, std::string_view text) {
    const auto family = find_pre_tokenizer_family(family_name);
    EXPECT_TRUE(family) << family_name;
    const auto pre_tokenizer = PreTokenizer::create(**family);
    EXPECT_TRUE(pre_tokenizer) << pre_tokenizer.error().text();
    std::vector<std::size_t> ends;
    pre_tokenizer->split(text, ends);
    std::vector<std::string> words;
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
        words.emplace_back(text.substr(begin, end - begin));
        begin = end;
    }
    EXPECT_EQ(begin, text.size());
    return words;
}

TEST(PreTokenizer, families_differ_as_published) {
    constexpr std::string_view text = "It'S 12345  a_b\n";
    EXPECT_THAT(words_of("gpt-2", text),
                ElementsAre("It", "'", "S", " 12345", " ", " a", "_", "b", "\n"));
    EXPECT_THAT(words_of("smollm", text), ElementsAre("It", "'", "S", " ", "1", "2", "3", "4", "5",
                                                      " ", " a", "_", "b", "\n"));
    EXPECT_THAT(words_of("llama-bpe", text),
                ElementsAre("It", "'S", " ", "123", "45", " ", " a", "_b", "\n"));
    EXPECT_THAT(words_of("qwen2", text),
                ElementsAre("It", "'S", " ", "1", "2", "3", "4", "5", " ", " a", "_b", "\n"));
    EXPECT_THAT(words_of("tekken", text),
                ElementsAre("It", "'S", " ", "1", "2", "3", "4", "5", " ", " a", "_b", "\n"));
    EXPECT_THAT(words_of("deepseek-v3", text),
                ElementsAre("It", "'S", " ", "123", "45", " ", " a", "_b", "\n"));
    EXPECT_THAT(words_of("gpt-4o", "HelloWorld's path//\n"),
                ElementsAre("Hello", "World's", " path", "//\n"));
    EXPECT_THAT(words_of("deepseek-v3", "abc你好def"), ElementsAre("abc", "你好", "def"));
    EXPECT_THAT(words_of("qwen35", "नमस्ते !"), ElementsAre("नमस्ते", " !"));
    EXPECT_THAT(words_of("qwen2", "नमस्ते"), ElementsAre("नमस", "्त", "े"));
}

TEST(PreTokenizer, white_space_is_unicodes) {
    // U+180E was a space long ago, and still is one for PCRE2's own \s.
    EXPECT_THAT(words_of("gpt-2", "a\u180Eb"), ElementsAre("a", "\u180E", "b"));
    EXPECT_THAT(words_of("gpt-2", "\u180E!"), ElementsAre("\u180E!"));
    EXPECT_THAT(words_of("gpt-2", "a\u00A0!"), ElementsAre("a", "\u00A0", "!"));
    EXPECT_THAT(words_of("gpt-2", "a\u3000\u0085!"), ElementsAre("a", "\u3000", "\u0085", "!"));
    EXPECT_EQ(spell_out_space("a\\\\s").size(), 4U);  // an escaped backslash and an s
    EXPECT_TRUE(spell_out_space("[^\\s]").starts_with("[^\\t-"));
    EXPECT_TRUE(spell_out_space("\\S").starts_with("[^\\t-"));
}

TEST(PreTokenizer, invalid_utf8_is_a_word_of_its_own) {
    EXPECT_THAT(words_of("qwen2", "abc\xFF\xFEqu"), ElementsAre("abc", "\xFF\xFE", "qu"));
    EXPECT_THAT(words_of("qwen2", "\xE4\xBD"), ElementsAre("\xE4\xBD"));          // cut short
    EXPECT_THAT(words_of("qwen2", "\xC0\xAF!"), ElementsAre("\xC0\xAF", "!"));    // overlong
    EXPECT_THAT(words_of("qwen2", "\xED\xA0\x80"), ElementsAre("\xED\xA0\x80"));  // a surrogate
    EXPECT_THAT(words_of("qwen2", "\xF4\x90\x80\x80 x"), ElementsAre("\xF4\x90\x80\x80", " x"));
}

TEST(PreTokenizer, an_unknown_family_is_named) {
    const auto family = find_pre_tokenizer_family("martian");
    ASSERT_FALSE(family);
    EXPECT_EQ(family.error().code, ErrorCode::unsupported);
    EXPECT_THAT(family.error().message, ::testing::HasSubstr("martian"));
}

// Half a megabyte of what makes a backtracking matcher or a careless merge quadratic would take
// hours.
TEST(PreTokenizer, long_runs_take_linear_time_in_every_family) {
    constexpr std::size_t size = 1 << 19;
    for (const PreTokenizerFamily& family : pre_tokenizer_families()) {
        const auto pre_tokenizer = PreTokenizer::create(family);
        ASSERT_TRUE(pre_tokenizer) << pre_tokenizer.error().text();
        for (const std::string_view unit : {" ", "\n", "a", "A", "1", "!", "字", "e\u0301", " \t",
                                            "\r\n", "aB", "'", "\xFF", "ʰ", "😀"}) {
            std::string text;
            while (text.size() < size) text += unit;
            for (const std::string_view tail : {"", "x!"}) {
                std::vector<std::size_t> ends;
                pre_tokenizer->split(text + std::string(tail), ends);
                ASSERT_FALSE(ends.empty());
                EXPECT_EQ(ends.back(), text.size() + tail.size());
                EXPECT_EQ(std::ranges::adjacent_find(ends, std::ranges::greater_equal{}),
                          ends.end());
            }
        }
    }
}

TEST(PreTokenizer, family_names_are_unique) {
    std::vector<std::string_view> names;
    for (const PreTokenizerFamily& family : pre_tokenizer_families()) {
        names.insert(names.end(), family.names.begin(), family.names.end());
    }
    std::ranges::sort(names);
    EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

}  // namespace
}  // namespace exomesh::model
