#include "engine/bench.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <span>
#include <utility>

#include "base/quantile.h"
#include "engine/sampler.h"
#include "platform/clock.h"

namespace exomesh::engine {

namespace {

// Of a request with no options: what the ranks of a cluster find and send is part of the speed.
const RowNeeds usual_needs = {
    .candidate_count = static_cast<std::uint32_t>(SamplingOptions().top_k), .normalizer = false};

double mean(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double sample_deviation(const std::vector<double>& values) {
    if (values.size() < 2) return 0.0;
    const double average = mean(values);
    double sum = 0.0;
    for (const double value : values) sum += (value - average) * (value - average);
    return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

}  // namespace

Result<Bench> Bench::open(EngineOptions options, const std::vector<BenchTest>& tests) {
    EXO_TRY_ASSIGN(auto file, ModelFile::open(options.model_path));
    options.slot_count = 1;
    options.context_length = 1;
    options.context_limit = ContextLimit::none;
    for (const BenchTest& test : tests) {
        options.context_length =
            std::max(options.context_length, test.depth + test.prompt_count + test.generated_count);
    }
    options.chunk_length = std::max(options.chunk_length, 1U);
    EXO_TRY_ASSIGN(OpenedShard opened,
                   options.open ? options.open(*file, options) : open_shard(*file, options));
    return Bench(std::move(file), std::move(opened), options.chunk_length);
}

model::TokenId Bench::random_token() {
    random_state_ = random_state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<model::TokenId>((random_state_ >> 33) % file_->architecture.vocabulary_size);
}

// In a pipeline chunks follow each other, as long as an engine makes them that has seen nothing
// odd.
Result<void> Bench::prefill(std::uint32_t first, std::uint32_t count) {
    StepExecutor& shard = *opened_.shard;
    const std::uint32_t chunk_length =
        count == 0 ? chunk_length_
                   : chunk_chooser_.choose(count, shard.stage_count(), chunk_length_);
    std::deque<std::vector<model::TokenId>> running;
    for (std::uint32_t done = 0; done < count || !running.empty();) {
        if (done == count || running.size() == shard.steps_in_flight_max()) {
            EXO_TRY(shard.finish());
            running.pop_front();
            continue;
        }
        std::vector<model::TokenId>& tokens =
            running.emplace_back(std::min(chunk_length, count - done));
        std::ranges::generate(tokens, [&] { return random_token(); });
        const SlotTokens batch{
            .slot = 0,
            .first_position = first + done,
            .tokens = tokens,
            .outputs = done + tokens.size() == count ? OutputRows::last : OutputRows::none,
            .needs = usual_needs};
        EXO_TRY(shard.start({&batch, 1}));
        done += static_cast<std::uint32_t>(tokens.size());
    }
    return {};
}

Result<void> Bench::generate(std::uint32_t first, std::uint32_t count,
                             std::vector<std::uint64_t>& durations_us) {
    for (std::uint32_t done = 0; done < count; ++done) {
        const std::uint64_t begin_us = platform::monotonic_us();
        const model::TokenId token = random_token();
        const SlotTokens batch{
            .slot = 0, .first_position = first + done, .tokens = {&token, 1}, .needs = usual_needs};
        EXO_TRY(opened_.shard->start({&batch, 1}));
        EXO_TRY(opened_.shard->finish());
        durations_us.push_back(platform::monotonic_us() - begin_us);
    }
    return {};
}

Result<BenchResult> Bench::run(const BenchTest& test, std::uint32_t repetition_count) {
    const std::uint32_t total = test.prompt_count + test.generated_count;
    if (total == 0 || repetition_count == 0) {
        return fail(ErrorCode::invalid_argument,
                    "nothing to measure: no tokens or no repetitions.");
    }
    // Graph, page faults and clock rates settle first.
    if (test.prompt_count > 0) EXO_TRY(prefill(test.depth, test.prompt_count));
    std::vector<std::uint64_t> tokens_us;
    if (test.generated_count > 0) EXO_TRY(generate(test.depth, 1, tokens_us));
    tokens_us.clear();
    BenchResult result;
    std::vector<double> durations_ns;
    for (std::uint32_t i = 0; i < repetition_count; ++i) {
        if (test.depth > 0) EXO_TRY(prefill(0, test.depth));
        const std::uint64_t begin_us = platform::monotonic_us();
        EXO_TRY(prefill(test.depth, test.prompt_count));
        EXO_TRY(generate(test.depth + test.prompt_count, test.generated_count, tokens_us));
        const std::uint64_t duration_ns =
            1000 * std::max<std::uint64_t>(platform::monotonic_us() - begin_us, 1);
        result.samples_ns.push_back(duration_ns);
        durations_ns.push_back(static_cast<double>(duration_ns));
        result.samples_ts.push_back(1e9 * total / static_cast<double>(duration_ns));
    }
    result.avg_ns = mean(durations_ns);
    result.stddev_ns = sample_deviation(durations_ns);
    result.avg_ts = mean(result.samples_ts);
    result.stddev_ts = sample_deviation(result.samples_ts);
    result.token_p50_us = quantile(tokens_us, 0.5);
    result.token_p99_us = quantile(tokens_us, 0.99);
    return result;
}

}  // namespace exomesh::engine
