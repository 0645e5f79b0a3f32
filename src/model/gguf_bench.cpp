// How long a model's header takes to parse, most of which is its vocabulary. Budget: 50 ms for 256k
// tokens.
#include <benchmark/benchmark.h>

#include "model/gguf.h"
#include "model/testing/gguf_writer.h"

namespace exomesh::model {
namespace {

void parse_vocabulary(benchmark::State& state) {
    constexpr std::size_t token_count = 256 * 1024;
    std::vector<std::string> tokens(token_count);
    std::vector<float> scores(token_count);
    std::vector<std::int32_t> types(token_count, 1);
    for (std::size_t i = 0; i < token_count; ++i) {
        // Every eighth is longer than what std::string keeps in place.
        tokens[i] = std::string(i % 8 == 0 ? 20 : 6, 't') + std::to_string(i);
        scores[i] = -static_cast<float>(i);
    }
    testing::GgufWriter writer;
    writer.add("tokenizer.ggml.tokens", tokens);
    writer.add("tokenizer.ggml.scores", scores);
    writer.add("tokenizer.ggml.token_type", types);
    const std::vector<std::byte> file = writer.bytes();
    for ([[maybe_unused]] auto _ : state) {
        auto gguf = Gguf::parse(file);
        if (!gguf) state.SkipWithError(gguf.error().message);
        benchmark::DoNotOptimize(gguf);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * file.size()));
}
BENCHMARK(parse_vocabulary)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace exomesh::model
