#include "engine/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/conversation.h"
#include "engine/testing/answer.h"
#include "engine/testing/random_tokens.h"
#include "engine/testing/synthetic_model.h"
#include "model/testing/tiny_model.h"

namespace exomesh::engine {
namespace {

using testing::Answer;
using testing::random_tokens;

class EngineTest : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        path_ = std::filesystem::temp_directory_path() /
                ("exomesh_engine_test_" + std::to_string(::getpid()) + ".gguf");
        model::Architecture architecture = testing::tiny_architecture("llama");
        architecture.context_length = 1024;
        // f32: batches of another size round differently, and with coarser weights that decides
        // ties.
        ASSERT_TRUE(testing::write_synthetic_model(architecture,
                                                   {.weight_type = model::TensorType::f32}, path_));
    }
    static void TearDownTestSuite() { std::filesystem::remove(path_); }

    static EngineOptions options() {
        EngineOptions options;
        options.model_path = path_;
        options.device = "cpu";
        options.thread_count = 1;
        options.slot_count = 2;
        options.context_length = 512;
        options.chunk_length = 64;
        return options;
    }
    static std::unique_ptr<Engine> open(const EngineOptions& options) {
        auto engine = Engine::create(options);
        EXPECT_TRUE(engine) << engine.error().text();
        return *std::move(engine);
    }
    static GenerateRequest request(std::vector<TokenId> prompt, std::uint32_t max_tokens) {
        GenerateRequest request;
        request.prompt = std::move(prompt);
        request.max_tokens = max_tokens;
        request.sampling.temperature = 0.0F;
        request.ignore_end = true;
        return request;
    }
    static std::string path_;
};

std::string EngineTest::path_;

TEST_F(EngineTest, GivesTheSameAnswerAloneAndAmongOthers) {
    const auto engine = open(options());
    std::vector<std::string> alone;
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        Answer answer;
        ASSERT_TRUE(engine->submit(request(random_tokens(seed + 50, 20 + 40 * seed), 12),
                                   answer.callback()));
        ASSERT_EQ(answer.wait(), FinishReason::length);
        EXPECT_EQ(answer.usage.completion_tokens, 12U);
        EXPECT_EQ(answer.usage.prompt_tokens, 20 + 40 * seed);
        alone.push_back(answer.text);
    }
    std::vector<Answer> together(6);
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        ASSERT_TRUE(engine->submit(request(random_tokens(seed + 50, 20 + 40 * seed), 12),
                                   together[seed].callback()));
    }
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        ASSERT_EQ(together[seed].wait(), FinishReason::length);
        EXPECT_EQ(together[seed].text, alone[seed]) << "prompt " << seed;
    }
    const EngineStatistics statistics = engine->statistics();
    EXPECT_EQ(statistics.requests_total, 12U);
    EXPECT_EQ(statistics.completion_tokens_total, 12U * 12);
    EXPECT_EQ(statistics.requests_waiting, 0U);
}

TEST_F(EngineTest, FindsACommonPrefixAndAnswersAsWithoutIt) {
    const auto prompt = random_tokens(3, 200);
    auto longer = prompt;
    for (const TokenId token : random_tokens(4, 30)) longer.push_back(token);
    const auto without = open(options());
    Answer fresh;
    ASSERT_TRUE(without->submit(request(longer, 10), fresh.callback()));
    fresh.wait();

    const auto engine = open(options());
    Answer first;
    Answer second;
    ASSERT_TRUE(engine->submit(request(prompt, 10), first.callback()));
    first.wait();
    ASSERT_TRUE(engine->submit(request(longer, 10), second.callback()));
    second.wait();
    EXPECT_EQ(first.usage.prompt_tokens_cached, 0U);
    EXPECT_EQ(second.usage.prompt_tokens_cached, 200U);
    EXPECT_EQ(second.text, fresh.text);
}

TEST_F(EngineTest, CopiesAPrefixOutOfABusySlot) {
    const auto engine = open(options());
    const auto prompt = random_tokens(5, 150);
    Answer fresh;
    ASSERT_TRUE(engine->submit(request(prompt, 8), fresh.callback()));
    fresh.wait();

    Answer running;
    auto endless = request(prompt, 300);
    ASSERT_TRUE(engine->submit(endless, running.callback()));
    running.wait_for_events(1);
    Answer copied;
    ASSERT_TRUE(engine->submit(request(prompt, 8), copied.callback()));
    copied.wait();
    EXPECT_EQ(copied.usage.prompt_tokens_cached, 149U);
    EXPECT_EQ(copied.text, fresh.text);
    running.wait();
}

TEST_F(EngineTest, StopsWhereTheContextEnds) {
    const auto engine = open(options());
    Answer answer;
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 500), 0), answer.callback()));
    EXPECT_EQ(answer.wait(), FinishReason::length);
    EXPECT_EQ(answer.usage.completion_tokens, 512U - 500 + 1);
}

TEST_F(EngineTest, StopsBeforeAStopString) {
    const auto engine = open(options());
    Answer whole;
    ASSERT_TRUE(engine->submit(request(random_tokens(2, 30), 24), whole.callback()));
    whole.wait();
    ASSERT_GT(whole.text.size(), 12U);
    auto stopped = request(random_tokens(2, 30), 24);
    stopped.stop = {whole.text.substr(8, 3)};
    Answer answer;
    ASSERT_TRUE(engine->submit(stopped, answer.callback()));
    EXPECT_EQ(answer.wait(), FinishReason::stop);
    EXPECT_EQ(answer.text, whole.text.substr(0, whole.text.find(stopped.stop[0])));
}

TEST_F(EngineTest, TheSeedDecidesTheAnswer) {
    const auto engine = open(options());
    const auto sampled = [&](std::uint64_t seed) {
        auto random = request(random_tokens(9, 10), 16);
        random.sampling.temperature = 2.0F;
        random.sampling.seed = seed;
        Answer answer;
        EXPECT_TRUE(engine->submit(random, answer.callback()));
        answer.wait();
        return answer.text;
    };
    EXPECT_EQ(sampled(1), sampled(1));
    EXPECT_NE(sampled(1), sampled(2));
}

TEST_F(EngineTest, LogprobsAreThoseOfTheChosenTokens) {
    const auto engine = open(options());
    auto with = request(random_tokens(6, 12), 5);
    with.want_logprobs = true;
    with.top_logprob_count = 3;
    Answer answer;
    ASSERT_TRUE(engine->submit(with, answer.callback()));
    answer.wait();
    ASSERT_EQ(answer.logprobs.size(), 5U);
    for (const TokenLogprob& one : answer.logprobs) {
        EXPECT_LE(one.logprob, 0.0F);
        EXPECT_GT(one.logprob, -20.0F);
    }
}

TEST_F(EngineTest, CancelsRunningAndWaitingRequests) {
    const auto engine = open(options());
    std::vector<Answer> answers(4);
    std::vector<RequestId> ids;
    for (std::uint32_t i = 0; i < 4; ++i) {
        const auto id = engine->submit(request(random_tokens(i, 10), 400), answers[i].callback());
        ASSERT_TRUE(id);
        ids.push_back(*id);
    }
    answers[0].wait_for_events(2);
    for (const RequestId id : ids) engine->cancel(id);
    engine->cancel(123456);
    for (Answer& answer : answers) EXPECT_EQ(answer.wait(), FinishReason::cancelled);
    Answer after;
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 3), after.callback()));
    EXPECT_EQ(after.wait(), FinishReason::length);
}

TEST_F(EngineTest, CancelsWhatRunsWhenItGoesAway) {
    Answer running;
    Answer waiting;
    {
        auto alone = options();
        alone.slot_count = 1;
        const auto engine = open(alone);
        ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 400), running.callback()));
        ASSERT_TRUE(engine->submit(request(random_tokens(2, 10), 400), waiting.callback()));
        running.wait_for_events(1);
    }
    EXPECT_EQ(running.wait(), FinishReason::cancelled);
    EXPECT_EQ(waiting.wait(), FinishReason::cancelled);
}

TEST_F(EngineTest, RefusesWhatCannotWork) {
    auto small = options();
    small.slot_count = 1;
    small.queue_length_max = 1;
    const auto engine = open(small);
    const auto code = [&](GenerateRequest bad) {
        const auto id = engine->submit(std::move(bad), [](const GenerationEvent&) { FAIL(); });
        return id ? std::optional<ErrorCode>() : id.error().code;
    };
    EXPECT_EQ(code(request({}, 1)), ErrorCode::invalid_argument);
    EXPECT_EQ(code(request({-1}, 1)), ErrorCode::invalid_argument);
    EXPECT_EQ(code(request({1 << 20}, 1)), ErrorCode::invalid_argument);
    EXPECT_EQ(code(request(random_tokens(1, 512), 1)), ErrorCode::invalid_argument);
    auto hot = request({1}, 1);
    hot.sampling.temperature = -1.0F;
    EXPECT_EQ(code(hot), ErrorCode::invalid_argument);

    Answer running;
    Answer queued;
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 400), running.callback()));
    running.wait_for_events(1);
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 1), queued.callback()));
    EXPECT_EQ(code(request({1}, 1)), ErrorCode::resource_exhausted);
    queued.wait();
}

// What a free slot takes at once does not wait.
TEST_F(EngineTest, QueuesNothingWhereASlotIsFree) {
    auto no_queue = options();
    no_queue.queue_length_max = 0;
    std::vector<Answer> answers(2);  // outlive the engine, which ends them
    const auto engine = open(no_queue);
    for (Answer& answer : answers) {
        ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 400), answer.callback()));
    }
    const auto refused =
        engine->submit(request(random_tokens(1, 10), 1), [](const GenerationEvent&) { FAIL(); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::resource_exhausted);
}

class AllowsNothing : public Constraint {
  public:
    void mask(std::vector<float>& logits) override {
        std::ranges::fill(logits, -std::numeric_limits<float>::infinity());
    }
    void accept(TokenId) override {}
};

TEST_F(EngineTest, CountsARequestWhoseSamplingFails) {
    const auto engine = open(options());
    auto impossible = request(random_tokens(1, 10), 4);
    impossible.constraint = std::make_shared<AllowsNothing>();
    Answer failing;
    ASSERT_TRUE(engine->submit(impossible, failing.callback()));
    EXPECT_EQ(failing.wait(), FinishReason::error);
    EXPECT_TRUE(failing.error);
    Answer after;
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 4), after.callback()));
    EXPECT_EQ(after.wait(), FinishReason::length);
    EXPECT_EQ(engine->statistics().requests_failed_total, 1U);
    EXPECT_EQ(engine->statistics().device_failure, "");  // the device is not to blame
}

// Drivers throw. The progress callback stands for one here, since it runs amid the uploads.
TEST_F(EngineTest, ExceptionsWhileLoadingAreErrors) {
    auto throwing = options();
    throwing.on_progress = [](double) {
        [[maybe_unused]] const int value = std::vector<int>().at(0);
    };
    const auto engine = Engine::create(throwing);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(engine.error().message.starts_with("cpu failed: ")) << engine.error().text();
}

TEST_F(EngineTest, ExplainsWhyItCannotOpen) {
    auto missing = options();
    missing.model_path = "/nowhere/model.gguf";
    EXPECT_EQ(Engine::create(missing).error().code, ErrorCode::not_found);
    auto too_long = options();
    too_long.context_length = 100000;
    EXPECT_EQ(Engine::create(too_long).error().code, ErrorCode::invalid_argument);
    auto unknown = options();
    unknown.device = "abacus7";
    EXPECT_EQ(Engine::create(unknown).error().code, ErrorCode::not_found);
    auto no_slots = options();
    no_slots.slot_count = 0;
    EXPECT_EQ(Engine::create(no_slots).error().code, ErrorCode::invalid_argument);
}

// Such a model still completes plain text.
TEST_F(EngineTest, ATemplateItCannotReadSpoilsConversationsOnly) {
    const std::string path =
        ::testing::TempDir() + std::to_string(::getpid()) + "_exomesh_strange_template.gguf";
    ASSERT_TRUE(testing::write_synthetic_model(testing::tiny_architecture("llama"),
                                               {.chat_template = "{% baffle %}"}, path));
    auto strange = options();
    strange.model_path = path;
    strange.context_length = 0;
    const auto engine = open(strange);
    std::filesystem::remove(path);
    EXPECT_EQ(engine->chat_template(), nullptr);
    const auto prompt = ConversationEncoder(*engine).encode({{"user", "Hi"}}, {});
    ASSERT_FALSE(prompt);
    EXPECT_EQ(prompt.error().code, ErrorCode::unsupported);
    EXPECT_TRUE(prompt.error().message.contains(path)) << prompt.error().text();
    EXPECT_TRUE(prompt.error().message.contains("`baffle`.")) << prompt.error().text();
    Answer answer;
    ASSERT_TRUE(engine->submit(request(random_tokens(1, 10), 3), answer.callback()));
    EXPECT_EQ(answer.wait(), FinishReason::length);
}

TEST(EngineWithoutATokenizer, NamesTheFile) {
    const std::string path =
        ::testing::TempDir() + std::to_string(::getpid()) + "_exomesh_no_tokenizer.gguf";
    ASSERT_TRUE(model::testing::tiny_model({}).write(path));
    EngineOptions options;
    options.model_path = path;
    options.device = "cpu";
    const auto engine = Engine::create(options);
    std::filesystem::remove(path);
    ASSERT_FALSE(engine);
    EXPECT_EQ(engine.error().code, ErrorCode::corrupt_data);
    EXPECT_TRUE(engine.error().message.contains(path)) << engine.error().text();
    EXPECT_TRUE(engine.error().message.contains("has no tokenizer")) << engine.error().text();
}

// Many callers at once, some of whom go away: for the thread sanitizer above all.
TEST_F(EngineTest, ServesManyThreads) {
    const auto engine = open(options());
    std::vector<std::thread> threads;
    for (std::uint32_t caller = 0; caller < 4; ++caller) {
        threads.emplace_back([&, caller] {
            for (std::uint32_t i = 0; i < 5; ++i) {
                Answer answer;
                const auto id = engine->submit(
                    request(random_tokens(caller * 10 + i, 5 + 30 * i), 6), answer.callback());
                ASSERT_TRUE(id);
                if ((caller + i) % 3 == 0) engine->cancel(*id);
                [[maybe_unused]] const EngineStatistics statistics = engine->statistics();
                const FinishReason reason = answer.wait();
                EXPECT_TRUE(reason == FinishReason::length || reason == FinishReason::cancelled);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
}

TEST(EngineOnARealModel, KnowsTheCapitalOfFrance) {
    const char* path = std::getenv("EXOMESH_TEST_MODEL_SMOLLM2");
    if (path == nullptr) GTEST_SKIP() << "EXOMESH_TEST_MODEL_SMOLLM2 is not set";
    EngineOptions options;
    options.model_path = path;
    options.device = "cpu";
    options.slot_count = 1;
    auto engine = Engine::create(options);
    ASSERT_TRUE(engine) << engine.error().text();
    GenerateRequest request;
    request.prompt =
        (*engine)->tokenizer().encode("The capital of France is", model::SpecialTokens::as_text,
                                      model::SequenceStart::as_model_wants);
    request.max_tokens = 2;
    request.sampling.temperature = 0.0F;
    Answer answer;
    ASSERT_TRUE((*engine)->submit(request, answer.callback()));
    answer.wait();
    EXPECT_EQ(answer.text, " Paris.");
}

}  // namespace
}  // namespace exomesh::engine
