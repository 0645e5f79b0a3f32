// Whole all-reduces over encrypted loopback links, as ranks make them: a thread for each, on a core
// of its own where there are enough. Times are rank 0's.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "base/quantile.h"
#include "net/testing/pin_to_core.h"
#include "runner/tensor_group.h"
#include "runner/testing/group_links.h"

namespace exomesh::runner {
namespace {

using net::testing::Transport;

// How long each sum took this rank, in microseconds.
std::vector<double> reduce(TensorGroup& group, std::size_t rank, std::size_t value_count,
                           std::size_t sum_count) {
    net::testing::pin_to_core(rank);
    std::vector<float> values(value_count, 1.0F);
    std::vector<double> times_us;
    group.begin_step(net::testing::patient());
    for (std::size_t i = 0; i < sum_count; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        group.reduce(values.data(), static_cast<std::int64_t>(value_count), 1);
        times_us.push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin)
                .count());
        std::ranges::fill(values, 1.0F);
    }
    EXO_ASSERT(group.end_step().has_value());
    return times_us;
}

void all_reduce(benchmark::State& state) {
    const auto value_count = static_cast<std::size_t>(state.range(0));
    const auto rank_count = static_cast<std::size_t>(state.range(1));
    const std::size_t sum_count = value_count > 100'000 ? 100 : 4000;
    const std::size_t cores = std::thread::hardware_concurrency();
    // Who spins keeps others from a core that they need.
    const net::LinkOptions options{.spin_us = rank_count > cores ? 0 : net::spin_us_default};
    const testing::GroupLinks links(rank_count, Transport::tcp, options);
    std::vector<double> times_us;
    while (state.KeepRunning()) {
        std::vector<std::jthread> others;
        for (std::size_t rank = 1; rank < rank_count; ++rank) {
            others.emplace_back([&, rank] {
                TensorGroup group(WireType::q8_0, links.of(rank));
                reduce(group, rank, value_count, sum_count);
            });
        }
        std::jthread([&] {
            TensorGroup group(WireType::q8_0, links.of(0));
            const auto some = reduce(group, 0, value_count, sum_count);
            times_us.insert(times_us.end(), some.begin(), some.end());
        }).join();
    }
    state.counters["p50_us"] = quantile(times_us, 0.5);
    state.counters["p90_us"] = quantile(times_us, 0.9);
    state.counters["p99_us"] = quantile(times_us, 0.99);
}
BENCHMARK(all_reduce)
    ->ArgNames({"values", "ranks"})
    ->ArgsProduct({{2048, 4096, 256 * 2048}, {2, 4}})
    ->Unit(benchmark::kMillisecond)
    ->Iterations(3)
    ->UseRealTime();

}  // namespace
}  // namespace exomesh::runner
