// One token's partial sums of a model with an embedding of 2,048 values, and of larger batches.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "runner/wire_codec.h"

namespace exomesh::runner {
namespace {

std::vector<float> sums(std::size_t count) {
    std::mt19937 random(1);
    std::normal_distribution<float> bell(0.0F, 1.0F);
    std::vector<float> values(count);
    for (float& value : values) value = bell(random);
    return values;
}

void count_bytes(benchmark::State& state, std::size_t values) {
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(values * sizeof(float)));
}

void encode_sums(benchmark::State& state, WireType type) {
    const auto values = sums(static_cast<std::size_t>(state.range(0)));
    std::vector<std::byte> bytes(encoded_size_bytes(type, values.size()));
    for ([[maybe_unused]] auto _ : state) {
        encode(type, values, bytes);
        benchmark::DoNotOptimize(bytes.data());
        benchmark::ClobberMemory();
    }
    count_bytes(state, values.size());
}

void decode_and_add(benchmark::State& state, WireType type) {
    auto values = sums(static_cast<std::size_t>(state.range(0)));
    std::vector<std::byte> bytes(encoded_size_bytes(type, values.size()));
    encode(type, values, bytes);
    for ([[maybe_unused]] auto _ : state) {
        decode_add(type, bytes, values);
        benchmark::DoNotOptimize(values.data());
        benchmark::ClobberMemory();
    }
    count_bytes(state, values.size());
}

BENCHMARK_CAPTURE(encode_sums, f32, WireType::f32)->Arg(2048);
BENCHMARK_CAPTURE(encode_sums, f16, WireType::f16)->Arg(2048);
BENCHMARK_CAPTURE(encode_sums, q8, WireType::q8_0)->Arg(2048)->Arg(512 * 2048);
BENCHMARK_CAPTURE(decode_and_add, f32, WireType::f32)->Arg(2048);
BENCHMARK_CAPTURE(decode_and_add, f16, WireType::f16)->Arg(2048);
BENCHMARK_CAPTURE(decode_and_add, q8, WireType::q8_0)->Arg(2048)->Arg(512 * 2048);

}  // namespace
}  // namespace exomesh::runner
