// One all-reduce between two ranks, as far as the link goes: both send their partial sums at once
// and wait for the other's. Values are Q8_0: 34 bytes for 32 of them.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "base/quantile.h"
#include "net/testing/link_pair.h"
#include "net/testing/pin_to_core.h"

namespace exomesh::net {
namespace {

constexpr FrameType go{16};
constexpr FrameType sums{17};
constexpr FrameType stop{18};

void exchange(DataLink& link, std::span<const std::byte> ours, std::span<std::byte> theirs) {
    const Deadline deadline = testing::patient();
    EXO_ASSERT(link.send(sums, {ours}, deadline).has_value());
    EXO_ASSERT(link.receive_into(sums, theirs, deadline).has_value());
}

// The other rank does the same in step until a message of another size tells it to stop.
void answer(DataLink& link, std::size_t size) {
    testing::pin_to_core(1);
    const std::vector<std::byte> ours(size, std::byte{2});
    while (true) {
        EXO_ASSERT(link.send(sums, {ours}, testing::patient()).has_value());
        const auto message = link.receive(testing::patient());
        EXO_ASSERT(message.has_value());
        if (message->type == stop) return;
    }
}

// Rank 0: how long each exchange took, in microseconds.
std::vector<double> measure(DataLink& link, std::size_t size, std::size_t count) {
    testing::pin_to_core(0);
    const std::vector<std::byte> ours(size, std::byte{1});
    std::vector<std::byte> theirs(size);
    std::vector<double> times_us;
    for (std::size_t i = 0; i < count; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        exchange(link, ours, theirs);
        const std::chrono::duration<double, std::micro> time =
            std::chrono::steady_clock::now() - begin;
        times_us.push_back(time.count());
    }
    return times_us;
}

void all_reduce(benchmark::State& state) {
    constexpr std::size_t batch = 1000;
    const auto value_count = static_cast<std::size_t>(state.range(0));
    const LinkOptions options{.spin_us = static_cast<std::uint32_t>(state.range(1))};
    const std::size_t size = value_count / 32 * 34;
    auto [zero, one] = testing::make_pair(testing::Transport::tcp, options);
    std::jthread other([&link = one, size] { answer(link, size); });
    std::vector<double> times_us;
    while (state.KeepRunning()) {
        std::vector<double> some;
        std::jthread([&, &link = zero] { some = measure(link, size, batch); }).join();
        times_us.insert(times_us.end(), some.begin(), some.end());
    }
    EXO_ASSERT(zero.send(stop, {}, testing::patient()).has_value());
    state.counters["p50_us"] = quantile(times_us, 0.5);
    state.counters["p90_us"] = quantile(times_us, 0.9);
    state.counters["p99_us"] = quantile(times_us, 0.99);
    state.counters["slept"] =
        static_cast<double>(zero.stats().sleep_count) / static_cast<double>(times_us.size());
}
BENCHMARK(all_reduce)
    ->ArgNames({"values", "spin_us"})
    ->ArgsProduct({{2048, 4096}, {30, 50, 0}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

// Activations of a prefill, one way after the other.
void large_messages(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0)) << 10;
    auto [zero, one] = testing::make_pair();
    std::thread other([&link = one] {
        while (true) {
            const auto message = link.receive(testing::patient());
            EXO_ASSERT(message.has_value());
            if (message->type == stop) return;
            EXO_ASSERT(link.send(go, {}, testing::patient()).has_value());
        }
    });
    const std::vector<std::byte> bytes(size, std::byte{1});
    while (state.KeepRunning()) {
        EXO_ASSERT(zero.send(sums, {bytes}, testing::patient()).has_value());
        EXO_ASSERT(zero.receive(testing::patient()).has_value());
    }
    EXO_ASSERT(zero.send(stop, {}, testing::patient()).has_value());
    other.join();
    state.SetBytesProcessed(static_cast<std::int64_t>(size) * state.iterations());
}
BENCHMARK(large_messages)->Arg(64)->Arg(1024)->Arg(8192)->UseRealTime();

void handshake(benchmark::State& state) {
    while (state.KeepRunning()) benchmark::DoNotOptimize(testing::make_pair());
}
BENCHMARK(handshake)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace exomesh::net
