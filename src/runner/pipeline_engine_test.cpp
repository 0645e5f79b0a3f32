// The engine over a pipeline: chunks of one prompt follow each other through the stages, sequences
// decode in several steps at a time.
//
// Texts are the same only where steps are: a batch of another size is computed by other kernels,
// rounds otherwise, and decides ties otherwise. So a pipeline is compared to the last bit with one
// process that computes the very steps of a pipeline, and by numbers, over a given text, with one
// that does not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <format>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "engine/engine.h"
#include "engine/open_shard.h"
#include "engine/testing/answer.h"
#include "engine/testing/forwarding_executor.h"
#include "engine/testing/random_tokens.h"
#include "runner/cluster.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::Engine;
using engine::EngineOptions;
using engine::FinishReason;
using engine::GenerateRequest;
using engine::GenerationEvent;
using engine::StepExecutor;
using engine::testing::Answer;
using engine::testing::ForwardingExecutor;
using engine::testing::random_tokens;
using model::TokenId;
using testing::TemporaryModel;

// Allows nothing but these tokens, one after the other.
class Dictation final : public engine::Constraint {
  public:
    explicit Dictation(std::vector<TokenId> tokens) : tokens_(std::move(tokens)) {}
    void mask(std::vector<float>& logits) override {
        const auto wanted = static_cast<std::size_t>(tokens_[next_]);
        const float logit = logits[wanted];
        std::ranges::fill(logits, -std::numeric_limits<float>::infinity());
        logits[wanted] = logit;
    }
    void accept(TokenId) override { ++next_; }

  private:
    std::vector<TokenId> tokens_;
    std::size_t next_ = 0;
};

// Allows everything: whole rows are asked for.
class Freedom final : public engine::Constraint {
  public:
    void mask(std::vector<float>& /*logits*/) override {}
    void accept(TokenId) override {}
};

constexpr std::uint32_t answer_length = 20;

// Long prompts and short ones, some with a beginning in common; whole rows, candidates, those of
// adjusted logits, and logprobs of them.
std::vector<GenerateRequest> mixed_requests() {
    std::vector<GenerateRequest> requests;
    for (std::uint32_t i = 0; i < 8; ++i) {
        GenerateRequest request;
        request.prompt = random_tokens(i < 6 ? i + 50 : 50, i % 3 == 0 ? 300 + 10 * i : 7 + i);
        request.max_tokens = answer_length;
        request.ignore_end = true;
        request.sampling.seed = i;
        if (i % 4 == 1) request.sampling.temperature = 0.0F;
        if (i == 2) request.sampling.top_k = 0;
        if (i % 4 == 3) request.sampling.repetition_penalty = 1.2F;
        if (i == 5 || i == 7) {
            request.sampling.frequency_penalty = 0.5F;
            request.sampling.logit_bias = {{3, 0.5F}, {40, -1.0F}};
        }
        request.want_logprobs = i % 2 == 0;
        request.top_logprob_count = 3;
        requests.push_back(std::move(request));
    }
    return requests;
}

// The probabilities of what is dictated.
GenerateRequest dictated(GenerateRequest request) {
    const auto seed = static_cast<std::uint32_t>(request.prompt.size());
    request.sampling = {};
    request.constraint = std::make_shared<Dictation>(random_tokens(seed, answer_length));
    request.want_logprobs = true;
    request.top_logprob_count = 0;
    return request;
}

// All of them wait before the first one starts: then the same steps follow every time.
std::vector<std::unique_ptr<Answer>> answer_all(Engine& engine,
                                                const std::vector<GenerateRequest>& requests) {
    std::mutex gate;
    std::unique_lock closed(gate);
    GenerateRequest first;
    first.prompt = {1};
    first.max_tokens = 1;
    EXPECT_TRUE(engine.submit(first, [&gate](const GenerationEvent& event) {
        if (!event.finish) return;
        const std::scoped_lock passed(gate);
    }));
    std::vector<std::unique_ptr<Answer>> answers;
    for (const GenerateRequest& request : requests) {
        answers.push_back(std::make_unique<Answer>());
        EXPECT_TRUE(engine.submit(request, answers.back()->callback()));
    }
    closed.unlock();
    for (const auto& answer : answers) {
        EXPECT_EQ(answer->wait(), FinishReason::length);
    }
    return answers;
}

std::vector<std::string> what_is_said(Engine& engine,
                                      const std::vector<GenerateRequest>& requests) {
    std::vector<std::string> said;
    for (const auto& answer : answer_all(engine, requests)) said.push_back(answer->said);
    return said;
}

// One process that computes the steps of a pipeline, one after the other.
class InTurn final : public ForwardingExecutor {
  public:
    InTurn(std::unique_ptr<StepExecutor> shard, std::uint32_t stage_count)
        : ForwardingExecutor(std::move(shard)), stage_count_(stage_count) {}

    [[nodiscard]] std::uint32_t stage_count() const override { return stage_count_; }
    Result<void> start(std::span<const engine::SlotTokens> batch) override {
        EXO_TRY(ForwardingExecutor::start(batch));
        EXO_TRY_ASSIGN(const auto rows, ForwardingExecutor::finish());
        std::vector<std::vector<float>>& step = steps_.emplace_back();
        for (const engine::OutputRow& row : rows)
            step.emplace_back(row.logits.begin(), row.logits.end());
        return {};
    }
    Result<std::span<const engine::OutputRow>> finish() override {
        finished_ = std::move(steps_.front());
        steps_.pop_front();
        rows_.clear();
        for (const std::vector<float>& logits : finished_) rows_.push_back({.logits = logits});
        return std::span<const engine::OutputRow>(rows_);
    }

  private:
    std::uint32_t stage_count_;
    std::deque<std::vector<std::vector<float>>> steps_;
    std::vector<std::vector<float>> finished_;
    std::vector<engine::OutputRow> rows_;
};

// Says on the engine's thread when a step starts.
class Watched final : public ForwardingExecutor {
  public:
    Watched(std::unique_ptr<StepExecutor> shard, std::function<void()> on_start)
        : ForwardingExecutor(std::move(shard)), on_start_(std::move(on_start)) {}

    Result<void> start(std::span<const engine::SlotTokens> batch) override {
        for (const engine::SlotTokens& slot : batch) {
            EXPECT_TRUE(slot.outputs != engine::OutputRows::none || slot.needs.adjustments.empty());
        }
        if (on_start_) on_start_();
        return ForwardingExecutor::start(batch);
    }

  private:
    std::function<void()> on_start_;
};

class PipelineEngine : public ::testing::Test {
  protected:
    PipelineEngine() : model_(architecture(), {.weight_type = model::TensorType::f32}) {
        auto head = net::Identity::generate();
        EXO_ASSERT(head.has_value());
        head_ = *std::move(head);
    }

    static model::Architecture architecture() {
        model::Architecture llama = engine::testing::tiny_architecture("llama");
        llama.layer_count = 6;
        llama.layer_is_sliding.resize(6, false);
        llama.context_length = 1024;
        return llama;
    }

    [[nodiscard]] EngineOptions options(std::uint32_t chunk_length) const {
        EngineOptions options = testing::play_options(model_);
        options.slot_count = 4;
        options.context_length = 512;
        options.chunk_length = chunk_length;
        return options;
    }
    static std::unique_ptr<Engine> create(const EngineOptions& options) {
        auto opened = Engine::create(options);
        EXO_ASSERT(opened.has_value());
        return *std::move(opened);
    }

    [[nodiscard]] std::unique_ptr<Engine> open_in_turn(std::uint32_t stage_count,
                                                       std::uint32_t chunk_length) const {
        EngineOptions in_turn = options(chunk_length);
        in_turn.open = [stage_count](const auto& file,
                                     const auto& given) -> Result<engine::OpenedShard> {
            EXO_TRY_ASSIGN(engine::OpenedShard opened, engine::open_shard(file, given));
            opened.shard = std::make_unique<InTurn>(std::move(opened.shard), stage_count);
            return opened;
        };
        return create(in_turn);
    }

    // `workers` must outlive the engine.
    [[nodiscard]] std::unique_ptr<Engine> open(ThreadRunnerHost& workers, const std::string& split,
                                               std::uint32_t rank_count, std::uint32_t chunk_length,
                                               std::function<void()> on_start = {}) const {
        EXO_ASSERT(workers.start(rank_count - 1, head_->peer_id()).has_value());
        EngineOptions together = options(chunk_length);
        const ClusterOptions cluster{.identity = *head_,
                                     .workers = workers.addresses(),
                                     .split = parse_split(split).value(),
                                     .shares = {},
                                     .devices = {},
                                     .wire = WireType::f32,
                                     .spin_us = 0};
        together.open = [cluster, on_start](const auto& file,
                                            const auto& given) -> Result<engine::OpenedShard> {
            EXO_TRY_ASSIGN(engine::OpenedShard opened, open_cluster(file, given, cluster));
            opened.shard = std::make_unique<Watched>(std::move(opened.shard), on_start);
            return opened;
        };
        return create(together);
    }

    // The largest difference between logarithms of the same tokens' probabilities.
    static float difference(const Answer& one, const Answer& other) {
        if (one.logprobs.size() != other.logprobs.size())
            return std::numeric_limits<float>::infinity();
        float largest = 0.0F;
        for (std::size_t i = 0; i < one.logprobs.size(); ++i) {
            largest =
                std::max(largest, std::abs(one.logprobs[i].logprob - other.logprobs[i].logprob));
        }
        return largest;
    }

    TemporaryModel model_;
    std::optional<net::Identity> head_;
};

// A single key and value at a wrong position makes a difference of more.
constexpr float rounding_max = 0.15F;

TEST_F(PipelineEngine, says_to_the_last_bit_what_one_process_says_in_the_same_steps) {
    constexpr std::uint32_t chunk_length = 32;  // chunks of one length only
    for (const std::uint32_t stage_count : {2U, 3U}) {
        SCOPED_TRACE(std::format("pipeline of {}", stage_count));
        const auto in_turn = open_in_turn(stage_count, chunk_length);
        ThreadRunnerHost workers;
        const auto pipeline = open(workers, "pipeline", stage_count, chunk_length);
        const auto requests = mixed_requests();
        EXPECT_EQ(what_is_said(*pipeline, requests), what_is_said(*in_turn, requests));
    }
}

TEST_F(PipelineEngine, says_the_same_with_candidates_and_with_whole_rows) {
    auto requests = mixed_requests();
    auto with_whole_rows = requests;
    for (GenerateRequest& request : with_whole_rows)
        request.constraint = std::make_shared<Freedom>();
    for (const auto& [split, rank_count] :
         std::vector<std::pair<std::string, std::uint32_t>>{{"tensor", 3}, {"2x2", 4}}) {
        SCOPED_TRACE(split);
        ThreadRunnerHost workers;
        ThreadRunnerHost other_workers;
        const auto one = open(workers, split, rank_count, 32);
        const auto other = open(other_workers, split, rank_count, 32);
        EXPECT_EQ(what_is_said(*one, requests), what_is_said(*other, with_whole_rows));
    }
}

// An executor that is lost in its third step.
class ShortLived final : public ForwardingExecutor {
  public:
    explicit ShortLived(std::unique_ptr<StepExecutor> shard)
        : ForwardingExecutor(std::move(shard)) {}
    Result<void> start(std::span<const engine::SlotTokens> batch) override {
        if (++step_count_ == 3) return fail(ErrorCode::unavailable, "rank 1 is gone.");
        return ForwardingExecutor::start(batch);
    }

  private:
    int step_count_ = 0;
};

TEST_F(PipelineEngine, says_what_computes_after_it_was_opened_anew) {
    EngineOptions reopened = options(32);
    reopened.open = [count = 0](const auto& file,
                                const auto& given) mutable -> Result<engine::OpenedShard> {
        EXO_TRY_ASSIGN(engine::OpenedShard opened, engine::open_shard(file, given));
        opened.information.device = ++count == 1 ? "cpu + cpu" : "cpu";
        if (count == 1) opened.shard = std::make_unique<ShortLived>(std::move(opened.shard));
        return opened;
    };
    const auto engine = create(reopened);
    EXPECT_EQ(engine->information().device, "cpu + cpu");
    GenerateRequest request;
    request.prompt = {1};
    request.max_tokens = 10;
    request.ignore_end = true;
    Answer lost;
    ASSERT_TRUE(engine->submit(request, lost.callback()));
    EXPECT_EQ(lost.wait(), FinishReason::error);
    Answer found;
    ASSERT_TRUE(engine->submit(request, found.callback()));
    EXPECT_EQ(found.wait(), FinishReason::length);
    EXPECT_EQ(engine->information().device, "cpu");
}

// Chunks as long as the engine finds best, which differ from one process's and every time.
TEST_F(PipelineEngine, finds_the_probabilities_one_process_finds) {
    constexpr std::uint32_t chunk_length = 128;
    const auto dictate = [](Engine& engine) {
        std::vector<GenerateRequest> requests;
        for (const GenerateRequest& request : mixed_requests())
            requests.push_back(dictated(request));
        return answer_all(engine, requests);
    };
    const auto expected = dictate(*create(options(chunk_length)));
    float largest = 0.0F;
    const std::vector<std::pair<std::string, std::uint32_t>> cuts = {
        {"pipeline", 2}, {"pipeline", 3}, {"2x2", 4}, {"tensor", 3}};
    for (const auto& [split, rank_count] : cuts) {
        SCOPED_TRACE(std::format("{} of {}", split, rank_count));
        ThreadRunnerHost workers;
        const auto actual = dictate(*open(workers, split, rank_count, chunk_length));
        for (std::size_t i = 0; i < actual.size(); ++i) {
            const float found = difference(*actual[i], *expected[i]);
            EXPECT_LT(found, rounding_max) << "request " << i;
            largest = std::max(largest, found);
        }
    }
    ::testing::Test::RecordProperty("largest_difference", std::format("{:.2e}", largest));
}

// One prompt fills the first chunk, three share the second: the first is at its second token when
// they come.
TEST_F(PipelineEngine, decodes_in_as_many_steps_as_there_are_stages) {
    const auto engine = open_in_turn(2, 32);
    std::vector<GenerateRequest> requests(4);
    for (std::uint32_t i = 0; i < 4; ++i) {
        requests[i].prompt = random_tokens(i, i == 0 ? 32 : 8);
        requests[i].max_tokens = 100;
        requests[i].ignore_end = true;
    }
    answer_all(*engine, requests);
    EXPECT_LT(engine->statistics().steps_total, 220U);  // two for each token of one, and some
}

TEST_F(PipelineEngine, ends_a_cancelled_prompt_amid_its_chunks) {
    constexpr std::uint32_t chunk_length = 64;
    constexpr std::uint32_t chunk_count = 480 / chunk_length;  // that are not the last
    Engine* engine = nullptr;
    std::uint32_t starts_left = 0;  // until the step that is cancelled from
    std::promise<engine::RequestId> id;
    ThreadRunnerHost workers;
    const auto opened = open(workers, "pipeline", 2, chunk_length, [&] {
        if (starts_left == 0) return;
        --starts_left;
        if (starts_left == 0) engine->cancel(id.get_future().get());
    });
    engine = opened.get();
    const GenerateRequest request = mixed_requests()[1];
    Answer expected;
    ASSERT_TRUE(engine->submit(dictated(request), expected.callback()));
    expected.wait();
    for (std::uint32_t start = 1; start <= chunk_count; ++start) {
        GenerateRequest longer = request;
        longer.prompt = random_tokens(start, 480);
        Answer cancelled;
        Answer beside;
        id = {};
        starts_left = start;
        const auto submitted = engine->submit(longer, cancelled.callback());
        ASSERT_TRUE(engine->submit(dictated(request), beside.callback()));
        id.set_value(submitted.value());
        EXPECT_EQ(cancelled.wait(), FinishReason::cancelled) << start;
        EXPECT_EQ(cancelled.usage.completion_tokens, 0U) << start;
        EXPECT_EQ(beside.wait(), FinishReason::length);
        EXPECT_LT(difference(beside, expected), rounding_max) << start;
        EXPECT_EQ(starts_left, 0U);
    }
}

}  // namespace
}  // namespace exomesh::runner
