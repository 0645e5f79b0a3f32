#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace exomesh::engine {
namespace {

TextStream make_stream(const std::vector<std::string>& stops) {
    auto stream = TextStream::create(stops);
    EXPECT_TRUE(stream.has_value());
    return std::move(*stream);
}

struct Whole {
    std::string text;
    std::optional<std::string> stop_match;
};

Whole run(TextStream stream, const std::vector<std::string>& pieces) {
    Whole whole;
    for (const std::string& piece : pieces) {
        const TextChunk chunk = stream.push(piece);
        whole.text += chunk.text;
        if (chunk.stop_match) whole.stop_match = chunk.stop_match;
    }
    whole.text += stream.finish();
    return whole;
}

// Where the naive version finds the stop string that ends first; npos where there is none.
std::size_t naive_stop(const std::string& bytes, const std::vector<std::string>& stops,
                       std::string& match) {
    for (std::size_t end = 1; end <= bytes.size(); ++end) {
        match.clear();
        for (const std::string& stop : stops) {
            if (stop.size() > match.size() &&
                std::string_view(bytes).substr(0, end).ends_with(stop)) {
                match = stop;
            }
        }
        if (!match.empty()) return end - match.size();
    }
    return std::string::npos;
}

TEST(TextStream, holds_back_an_incomplete_sequence) {
    TextStream stream = make_stream({});
    EXPECT_EQ(stream.push("a\xF0\x9F").text, "a");
    EXPECT_EQ(stream.push("\x98").text, "");
    EXPECT_EQ(stream.push("\x80!").text, "\xF0\x9F\x98\x80!");
    EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, replaces_each_maximal_subpart_of_invalid_bytes) {
    const std::string bad = "\xEF\xBF\xBD";
    // The examples of the Unicode standard, tables 3-8 to 3-11.
    EXPECT_EQ(run(make_stream({}), {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"}).text,
              bad + bad + bad + bad + bad + bad + bad + bad + "A");
    EXPECT_EQ(run(make_stream({}), {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"}).text,
              bad + bad + bad + bad + bad + bad + bad + bad + "A");
    EXPECT_EQ(run(make_stream({}), {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"}).text,
              bad + bad + bad + bad + bad + "A" + bad + bad + "B");
    EXPECT_EQ(run(make_stream({}), {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"}).text,
              bad + bad + bad + bad + "A");
    EXPECT_EQ(run(make_stream({}), {"x\xE2\x82"}).text, "x" + bad);
}

TEST(TextStream, holds_back_what_may_begin_a_stop_string) {
    TextStream stream = make_stream({"\nUser:", "</s>"});
    EXPECT_EQ(stream.push("Hello.\nUs").text, "Hello.");
    EXPECT_EQ(stream.push("ually").text, "\nUsually");
    EXPECT_EQ(stream.push("<<").text, "<");
    const TextChunk chunk = stream.push("/s>never seen");
    EXPECT_EQ(chunk.text, "");
    EXPECT_EQ(chunk.stop_match, "</s>");
    EXPECT_EQ(stream.push("more").text, "");
    EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, the_stop_string_that_is_complete_first_wins) {
    EXPECT_EQ(run(make_stream({"bcd", "c"}), {"abcd"}).stop_match, "c");
    EXPECT_EQ(run(make_stream({"bcd", "c"}), {"abcd"}).text, "ab");
    EXPECT_EQ(run(make_stream({"d", "bcd", "cd"}), {"abcd"}).stop_match, "bcd");
    EXPECT_EQ(run(make_stream({"aab"}), {"aaab"}).text, "a");
}

TEST(TextStream, lets_out_an_unfinished_stop_string_at_the_end) {
    EXPECT_EQ(run(make_stream({"stop"}), {"do not sto"}).text, "do not sto");
}

TEST(TextStream, refuses_senseless_stop_strings) {
    EXPECT_FALSE(TextStream::create({""}).has_value());
    EXPECT_FALSE(TextStream::create({std::string(stop_string_bytes_max + 1, 'x')}).has_value());
    EXPECT_TRUE(TextStream::create({std::string(stop_string_bytes_max, 'x')}).has_value());
    EXPECT_FALSE(
        TextStream::create(std::vector<std::string>(stop_string_count_max + 1, "x")).has_value());
}

// Random bytes of a tiny alphabet, cut at random: the same as looking at the whole string at once,
// and no byte is held back longer than needed.
TEST(TextStream, equals_the_naive_version_however_the_bytes_are_cut) {
    std::mt19937 random(17);
    const std::vector<std::string> alphabet = {"a",    "b",    "\xC3", "\xA9", "\xE2",
                                               "\x82", "\xAC", "\xF0", "\xFF"};
    const auto any_bytes = [&](std::size_t count) {
        std::string bytes;
        for (std::size_t i = 0; i < count; ++i) bytes += alphabet[random() % alphabet.size()];
        return bytes;
    };
    int match_count = 0;
    for (int round = 0; round < 20'000; ++round) {
        std::vector<std::string> stops(random() % 4);
        for (std::string& stop : stops) stop = any_bytes(1 + random() % 4);
        const std::string bytes = any_bytes(random() % 24);
        std::string match;
        const std::size_t stop_at = naive_stop(bytes, stops, match);
        match_count += stop_at != std::string::npos ? 1 : 0;

        TextStream stream = make_stream(stops);
        std::string text;
        std::optional<std::string> found;
        for (std::size_t i = 0; i < bytes.size() && !found;) {
            const std::size_t length = 1 + random() % 5;
            const TextChunk chunk = stream.push(std::string_view(bytes).substr(i, length));
            text += chunk.text;
            found = chunk.stop_match;
            i += length;
            if (found || i >= bytes.size()) continue;
            // All that was let out now equals what a stream that ended before any open stop string
            // or sequence gives: the rest cannot have been shown yet.
            const std::string_view seen = std::string_view(bytes).substr(0, i);
            std::size_t open = 0;
            for (const std::string& stop : stops) {
                for (std::size_t n = 1; n < stop.size() && n <= seen.size(); ++n) {
                    if (seen.ends_with(std::string_view(stop).substr(0, n)))
                        open = std::max(open, n);
                }
            }
            TextStream safe = make_stream({});
            EXPECT_EQ(text, safe.push(seen.substr(0, seen.size() - open)).text);
        }
        text += stream.finish();
        const std::string before = bytes.substr(0, stop_at);
        EXPECT_EQ(text, run(make_stream({}), {before}).text);
        EXPECT_EQ(found.value_or(""), match);
    }
    EXPECT_GT(match_count, 1000);
}

}  // namespace
}  // namespace exomesh::engine
