// Measures a model the way llama-bench does, so that figures compare line by line: prompt
// processing of random tokens ("pp"), token by token generation ("tg"), both behind `depth` tokens
// of context.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/chunk_choice.h"
#include "engine/engine.h"
#include "engine/open_shard.h"

namespace exomesh::engine {

struct BenchTest {
    std::uint32_t prompt_count = 0;     // tokens prefilled in chunks, then
    std::uint32_t generated_count = 0;  // tokens computed one by one
    std::uint32_t depth = 0;            // tokens in the context before, not timed
};

struct BenchResult {
    std::vector<std::uint64_t> samples_ns;                        // one per repetition
    std::vector<double> samples_ts;                               // tokens per second
    double avg_ns = 0, stddev_ns = 0, avg_ts = 0, stddev_ts = 0;  // sample deviation
    // Of single generated tokens, over all repetitions: what most are within; 0 where none were.
    std::uint64_t token_p50_us = 0, token_p99_us = 0;
};

// To be used from one thread: the one that opened it.
class Bench {
  public:
    // `options.context_length` is chosen to hold every test, also beyond what the model was trained
    // for.
    [[nodiscard]] static Result<Bench> open(EngineOptions options,
                                            const std::vector<BenchTest>& tests);

    // Repeats the test after one warm-up.
    [[nodiscard]] Result<BenchResult> run(const BenchTest& test, std::uint32_t repetition_count);

    [[nodiscard]] const ModelFile& model() const { return *file_; }
    [[nodiscard]] const EngineInformation& information() const { return opened_.information; }

  private:
    Bench(std::unique_ptr<const ModelFile> file, OpenedShard opened, std::uint32_t chunk_length)
        : file_(std::move(file)), opened_(std::move(opened)), chunk_length_(chunk_length) {}

    Result<void> prefill(std::uint32_t first, std::uint32_t count);
    Result<void> generate(std::uint32_t first, std::uint32_t count,
                          std::vector<std::uint64_t>& durations_us);
    [[nodiscard]] model::TokenId random_token();

    std::unique_ptr<const ModelFile> file_;
    OpenedShard opened_;
    std::uint32_t chunk_length_;
    ChunkChooser chunk_chooser_;
    std::uint64_t random_state_ = 1;
};

}  // namespace exomesh::engine
