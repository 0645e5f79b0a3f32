#include <benchmark/benchmark.h>

#include <random>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace exomesh::engine {
namespace {

constexpr std::size_t vocabulary_size = 256 * 1024;

// Logits as a language model's: a few clear favourites over a wide bell of the rest.
std::vector<float> peaked_logits() {
    std::mt19937 random(1);
    std::normal_distribution<float> bell(0.0F, 2.0F);
    std::vector<float> logits(vocabulary_size);
    for (float& logit : logits) logit = bell(random);
    for (int i = 0; i < 50; ++i)
        logits[random() % vocabulary_size] = 16.0F - 0.2F * static_cast<float>(i);
    return logits;
}

void run(benchmark::State& state, const SamplingOptions& options) {
    const std::vector<float> logits = peaked_logits();
    Sampler sampler = Sampler::create(options, vocabulary_size).value();
    for ([[maybe_unused]] auto _ : state) {
        TokenId token = sampler.sample(logits).value();
        benchmark::DoNotOptimize(token);
        sampler.accept(token);
    }
}

void greedy(benchmark::State& state) {
    run(state, {.temperature = 0.0F, .logit_bias = {}, .seed = 1});
}
BENCHMARK(greedy)->Unit(benchmark::kMicrosecond);

void default_chain(benchmark::State& state) {
    run(state, {.logit_bias = {}, .seed = 1});
}
BENCHMARK(default_chain)->Unit(benchmark::kMicrosecond);

void default_chain_with_penalties(benchmark::State& state) {
    run(state,
        {.repetition_penalty = 1.1F, .frequency_penalty = 0.1F, .logit_bias = {}, .seed = 1});
}
BENCHMARK(default_chain_with_penalties)->Unit(benchmark::kMicrosecond);

void all_tokens_top_p(benchmark::State& state) {
    run(state, {.top_k = 0, .top_p = 0.95F, .min_p = 0.0F, .logit_bias = {}, .seed = 1});
}
BENCHMARK(all_tokens_top_p)->Unit(benchmark::kMicrosecond);

void all_tokens(benchmark::State& state) {
    run(state, {.top_k = 0, .top_p = 1.0F, .min_p = 0.0F, .logit_bias = {}, .seed = 1});
}
BENCHMARK(all_tokens)->Unit(benchmark::kMicrosecond);

void all_tokens_flat_top_p(benchmark::State& state) {
    std::vector<float> logits(vocabulary_size);
    std::mt19937 random(2);
    std::uniform_real_distribution<float> flat(0.0F, 1.0F);
    for (float& logit : logits) logit = flat(random);
    Sampler sampler =
        Sampler::create({.top_k = 0, .top_p = 0.95F, .min_p = 0.0F, .logit_bias = {}, .seed = 1},
                        vocabulary_size)
            .value();
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(sampler.sample(logits).value());
}
BENCHMARK(all_tokens_flat_top_p)->Unit(benchmark::kMicrosecond);

void log_softmax_top_20(benchmark::State& state) {
    const std::vector<float> logits = peaked_logits();
    Sampler sampler = Sampler::create({.logit_bias = {}, .seed = 1}, vocabulary_size).value();
    for ([[maybe_unused]] auto _ : state)
        benchmark::DoNotOptimize(sampler.log_softmax_top({.logits = logits}, 7, 20).value());
}
BENCHMARK(log_softmax_top_20)->Unit(benchmark::kMicrosecond);

// What a rank of the last stage does with a row of the argument's length.
void find_candidates(benchmark::State& state) {
    const std::vector<float> logits = peaked_logits();
    const auto row = std::span(logits).first(static_cast<std::size_t>(state.range(0)));
    LogitsSearch search;
    std::vector<Candidate> candidates;
    for ([[maybe_unused]] auto _ : state) {
        search.look_at(row);
        search.top(static_cast<std::size_t>(state.range(1)), candidates);
        benchmark::DoNotOptimize(candidates.data());
    }
}
BENCHMARK(find_candidates)
    ->ArgsProduct({{24 << 10, 48 << 10, 128 << 10, 256 << 10}, {1, 40, 64}})
    ->Unit(benchmark::kMicrosecond);

void find_normalizer(benchmark::State& state) {
    const std::vector<float> logits = peaked_logits();
    const auto row = std::span(logits).first(static_cast<std::size_t>(state.range(0)));
    for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(Normalizer(row));
}
BENCHMARK(find_normalizer)->Arg(48 << 10)->Arg(256 << 10)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace exomesh::engine
