// Steps in flight through a pipeline: each gives what it gives alone, whatever the others send.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "engine/open_shard.h"
#include "platform/trace.h"
#include "runner/cluster.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::SlotTokens;
using engine::StepExecutor;
using model::Architecture;
using model::TokenId;
using platform::SpanKind;
using testing::TemporaryModel;

constexpr std::uint32_t stage_count = 3;

Architecture three_layers() {
    Architecture llama = engine::testing::tiny_architecture("llama");
    llama.layer_count = stage_count;
    llama.layer_is_sliding.resize(stage_count, false);
    llama.context_length = 2048;
    return llama;
}

// A head with its workers.
class Pipeline {
  public:
    Pipeline(const TemporaryModel& model, const engine::EngineOptions& options,
             const std::function<void(const StepReport&)>& on_step = {}) {
        auto head = net::Identity::generate();
        EXO_ASSERT(head.has_value());
        EXO_ASSERT(workers_.start(stage_count - 1, head->peer_id()).has_value());
        const ClusterOptions cluster{.identity = *head,
                                     .workers = workers_.addresses(),
                                     .split = parse_split("pipeline").value(),
                                     .shares = {},
                                     .devices = {},
                                     .wire = WireType::f32,
                                     .spin_us = 0,
                                     .recording = on_step ? Recording::figures : Recording::nothing,
                                     .on_step = on_step};
        auto opened = open_cluster(model.file(), options, cluster);
        EXO_ASSERT(opened.has_value());
        executor_ = std::move(opened->shard);
    }
    [[nodiscard]] StepExecutor& executor() const { return *executor_; }

  private:
    ThreadRunnerHost workers_;
    std::unique_ptr<StepExecutor> executor_;
};

std::vector<TokenId> some_tokens(std::uint32_t count) {
    std::vector<TokenId> tokens;
    for (std::uint32_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<TokenId>((i * 2654435761U >> 16U) % 300));
    return tokens;
}

// The same tokens for each slot, step behind step; the rows of all tokens come out whole.
std::vector<SlotTokens> batch_of(std::span<const TokenId> tokens, std::uint32_t slot_count,
                                 std::uint32_t step) {
    std::vector<SlotTokens> batch;
    for (std::uint32_t slot = 0; slot < slot_count; ++slot) {
        batch.push_back({.slot = slot,
                         .first_position = step * static_cast<std::uint32_t>(tokens.size()),
                         .tokens = tokens,
                         .outputs = engine::OutputRows::all});
    }
    return batch;
}

void finish_into(StepExecutor& executor, std::vector<std::vector<float>>& steps) {
    const auto rows = executor.finish();
    ASSERT_TRUE(rows.has_value()) << rows.error().text();
    std::vector<float>& logits = steps.emplace_back();
    for (const engine::OutputRow& row : *rows)
        logits.insert(logits.end(), row.logits.begin(), row.logits.end());
}

// 16 MiB of states a step, and 32 KiB of output for each entry of the vocabulary. Tells how many
// steps were started before the first output was collected.
void expect_as_alone(std::uint32_t vocabulary_size, std::ptrdiff_t& started_count) {
    constexpr std::uint32_t step_count = stage_count + 1;
    constexpr std::uint32_t slot_count = 64;
    constexpr std::uint32_t length = 128;
    Architecture llama = three_layers();
    llama.embedding_length = 512;
    llama.vocabulary_size = vocabulary_size;
    llama.feed_forward_length = 32;
    llama.head_count = 1;
    llama.key_value_head_count = 1;
    llama.key_length = 32;
    llama.value_length = 32;
    llama.rope.dimension_count = 32;
    const TemporaryModel model(llama, {.weight_type = model::TensorType::q4_0});
    engine::EngineOptions options = testing::play_options(model);
    options.slot_count = slot_count;
    options.context_length = step_count * length;
    options.chunk_length = slot_count * length;
    const std::vector<TokenId> tokens = some_tokens(length);
    std::vector<std::vector<float>> expected;
    {
        const auto alone = engine::open_shard(model.file(), options);
        ASSERT_TRUE(alone.has_value()) << alone.error().text();
        for (std::uint32_t step = 0; step < step_count; ++step) {
            ASSERT_TRUE(alone->shard->start(batch_of(tokens, slot_count, step)).has_value());
            finish_into(*alone->shard, expected);
        }
    }
    const Pipeline pipeline(model, options);
    StepExecutor& executor = pipeline.executor();
    ASSERT_EQ(executor.steps_in_flight_max(), step_count);
    std::vector<std::vector<float>> actual;
    platform::TraceRecorder recorder(10'000);
    platform::record_this_thread(&recorder);
    for (std::uint32_t step = 0; step < step_count; ++step) {
        const auto started = executor.start(batch_of(tokens, slot_count, step));
        ASSERT_TRUE(started.has_value()) << started.error().text();
    }
    for (std::uint32_t step = 0; step < step_count; ++step) finish_into(executor, actual);
    platform::record_this_thread(nullptr);
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t step = 0; step < actual.size(); ++step) {
        EXPECT_TRUE(actual[step] == expected[step]) << "step " << step;
    }
    const auto spans = recorder.take(10'000);
    const auto first = std::ranges::find(spans, SpanKind::logits_in, &platform::TraceSpan::kind);
    started_count = std::count_if(spans.begin(), first, [](const platform::TraceSpan& span) {
        return span.kind == SpanKind::step;
    });
}

// More than sockets take: the last stage sends its output while the head sends states, to a stage
// that takes none before the last one does.
TEST(Pipeline, goes_on_where_states_and_outputs_fill_the_links) {
    std::ptrdiff_t started_count = 0;
    expect_as_alone(512, started_count);
    EXPECT_EQ(started_count, 4);
}

// Two outputs are more than the head's link would keep meanwhile.
TEST(Pipeline, goes_on_where_outputs_are_more_than_a_link_keeps) {
    std::ptrdiff_t started_count = 0;
    expect_as_alone(1920, started_count);
    EXPECT_EQ(started_count, 1);
}

TEST(Pipeline, records_what_it_does_for_the_step_it_does_it_for) {
    const TemporaryModel model(three_layers(), {});
    platform::TraceRecorder recorder(10'000);
    platform::record_this_thread(&recorder);
    std::map<std::uint32_t, std::uint32_t> told;
    {
        const Pipeline pipeline(model, testing::play_options(model), [&](const StepReport& step) {
            told[step.step] = step.token_count;
            for (const StepFigures& rank : step.ranks) EXPECT_EQ(rank.step, step.step);
        });
        StepExecutor& executor = pipeline.executor();
        std::uint32_t started = 0;
        std::uint32_t position = 0;
        std::uint32_t finished = 0;
        while (finished < 8) {
            const std::vector<TokenId> tokens = some_tokens(started + 1);
            const SlotTokens batch{.slot = 0,
                                   .first_position = position,
                                   .tokens = tokens,
                                   .outputs = engine::OutputRows::all};
            if (started < 8 && started - finished < executor.steps_in_flight_max()) {
                ASSERT_TRUE(executor.start({&batch, 1}).has_value());
                position += ++started;
                continue;
            }
            const auto rows = executor.finish();
            ASSERT_TRUE(rows.has_value());
            EXPECT_EQ(rows->size(), ++finished);
        }
    }
    platform::record_this_thread(nullptr);
    std::map<SpanKind, std::map<std::uint32_t, std::uint32_t>> amounts;
    for (const platform::TraceSpan& span : recorder.take(10'000))
        amounts[span.kind][span.step] += span.amount;
    std::map<std::uint32_t, std::uint32_t> expected;
    for (std::uint32_t step = 0; step < 8; ++step) expected[step] = step + 1;
    EXPECT_EQ(told, expected);
    EXPECT_EQ(amounts[SpanKind::step], expected);
    EXPECT_EQ(amounts[SpanKind::logits_in], expected);
    for (std::uint32_t step = 0; step < 8; ++step) {
        EXPECT_EQ(amounts[SpanKind::states_out][step], (step + 1) * 256) << step;
    }
}

}  // namespace
}  // namespace exomesh::runner
