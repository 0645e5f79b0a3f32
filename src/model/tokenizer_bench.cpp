// How fast text becomes tokens (budget: 5 MB/s a core for English) and how long a vocabulary takes
// to load, which a user waits for before the first token (budget: 150 ms for 256k tokens). With the
// variable EXOMESH_TEST_MODEL_SMOLLM2 or EXOMESH_TEST_MODEL_GEMMA3 on that real vocabulary, else on
// one made up.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <span>

#include "base/assert.h"
#include "model/testing/vocabulary.h"
#include "model/tokenizer.h"

namespace exomesh::model {
namespace {

constexpr std::size_t text_size_bytes = 1 << 20;

// The sample's words in random order, so that no run of them repeats.
std::string text_of_sample_words() {
    const std::string_view sample = testing::sample_text();
    std::mt19937_64 random(1);
    std::string text;
    while (text.size() < text_size_bytes) {
        std::size_t begin = sample.find(' ', random() % sample.size());
        if (begin == std::string_view::npos) begin = 0;
        text += sample.substr(begin, sample.find(' ', begin + 1) - begin);
    }
    return text;
}

std::string english_text() {
    const char* const path = std::getenv("EXOMESH_BENCH_TEXT");  // any file
    if (path == nullptr) return text_of_sample_words();
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Gguf load_model(const char* variable, const testing::Vocabulary& otherwise) {
    const char* const path = std::getenv(variable);
    if (path == nullptr) return testing::gguf_of(otherwise.writer("smollm"));
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    auto gguf = Gguf::parse(std::as_bytes(std::span(bytes)));
    EXO_ASSERT(gguf.has_value());
    return std::move(*gguf);
}

void encode(benchmark::State& state, const Gguf& gguf, const std::string& text) {
    const auto tokenizer = Tokenizer::create(gguf);
    EXO_ASSERT(tokenizer.has_value());
    for ([[maybe_unused]] auto _ : state) {
        benchmark::DoNotOptimize(
            tokenizer->encode(text, SpecialTokens::as_text, SequenceStart::none));
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}

Gguf smollm2() {
    return load_model("EXOMESH_TEST_MODEL_SMOLLM2", testing::byte_level_vocabulary(500));
}
Gguf gemma3() {
    return load_model("EXOMESH_TEST_MODEL_GEMMA3", testing::sentence_piece_vocabulary(500));
}

void encode_byte_level(benchmark::State& state) {
    encode(state, smollm2(), english_text());
}
BENCHMARK(encode_byte_level)->Unit(benchmark::kMillisecond);

void encode_sentence_piece(benchmark::State& state) {
    encode(state, gemma3(), english_text());
}
BENCHMARK(encode_sentence_piece)->Unit(benchmark::kMillisecond);

void encode_one_long_word(benchmark::State& state) {
    encode(state, smollm2(), std::string(text_size_bytes, 'a'));
}
BENCHMARK(encode_one_long_word)->Unit(benchmark::kMillisecond);

void encode_spaces(benchmark::State& state) {
    encode(state, smollm2(), std::string(text_size_bytes, ' '));
}
BENCHMARK(encode_spaces)->Unit(benchmark::kMillisecond);

void encode_one_long_sentence_piece(benchmark::State& state) {
    encode(state, gemma3(), std::string(text_size_bytes, 'a'));
}
BENCHMARK(encode_one_long_sentence_piece)->Unit(benchmark::kMillisecond);

void create(benchmark::State& state, const Gguf& gguf) {
    for ([[maybe_unused]] auto _ : state) {
        auto tokenizer = Tokenizer::create(gguf);
        EXO_ASSERT(tokenizer.has_value());
        benchmark::DoNotOptimize(tokenizer);
    }
}

void create_byte_level(benchmark::State& state) {
    create(state, smollm2());
}
BENCHMARK(create_byte_level)->Unit(benchmark::kMillisecond);

void create_sentence_piece(benchmark::State& state) {
    create(state, gemma3());
}
BENCHMARK(create_sentence_piece)->Unit(benchmark::kMillisecond);

// 256k tokens and as many merges: random words of four letters, joined to longer ones.
void create_256k_byte_level(benchmark::State& state) {
    auto vocabulary = testing::byte_level_vocabulary(0);
    std::mt19937_64 random(1);
    const auto token = [&] { return vocabulary.tokens[random() % vocabulary.tokens.size()]; };
    while (vocabulary.tokens.size() < 256 * 1024) {
        const std::string left = token();
        const std::string right = token();
        if (left.size() + right.size() > 24) continue;
        vocabulary.merges.push_back(left + " " + right);
        vocabulary.add(left + right, testing::type_normal);
    }
    create(state, testing::gguf_of(vocabulary.writer("gpt-4o")));
}
BENCHMARK(create_256k_byte_level)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace exomesh::model
