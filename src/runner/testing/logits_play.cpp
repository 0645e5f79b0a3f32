#include "runner/testing/logits_play.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <random>

#include "base/assert.h"

namespace exomesh::runner::testing {

using engine::OutputRows;
using engine::SlotTokens;
using model::TokenId;

TemporaryModel::TemporaryModel(const model::Architecture& architecture,
                               const engine::testing::SyntheticOptions& options) {
    static std::atomic<int> count = 0;
    const std::string name =
        std::to_string(::getpid()) + "_" + std::to_string(count++) + "_runner_test.gguf";
    path_ = std::filesystem::temp_directory_path() / name;
    EXO_ASSERT(engine::testing::write_synthetic_model(architecture, options, path_).has_value());
    auto file = engine::ModelFile::open(path_);
    EXO_ASSERT(file.has_value());
    file_ = *std::move(file);
}

TemporaryModel::~TemporaryModel() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
}

engine::EngineOptions play_options(const TemporaryModel& model) {
    engine::EngineOptions options;
    options.model_path = model.path();
    options.device = "cpu";
    options.thread_count = 1;
    options.slot_count = play_slot_count;
    options.context_length = 256;
    options.chunk_length = 16;
    return options;
}

Result<std::vector<float>> play(engine::StepExecutor& executor) {
    std::mt19937 random(5);
    const auto random_tokens = [&](std::size_t count) {
        std::vector<TokenId> tokens(count);
        for (TokenId& token : tokens) {
            token = static_cast<TokenId>(random() % executor.output_length());
        }
        return tokens;
    };
    std::vector<float> logits;
    const auto step = [&](const std::vector<SlotTokens>& batch) -> Result<void> {
        EXO_TRY_ASSIGN(const auto rows, executor.compute(batch));
        logits.insert(logits.end(), rows.begin(), rows.end());
        return {};
    };
    const auto first = random_tokens(21);
    const auto second = random_tokens(17);
    EXO_TRY(step({{.slot = 0,
                   .first_position = 0,
                   .tokens = std::span(first).first(9),
                   .outputs = OutputRows::none}}));
    // The rest of one prompt beside the whole of another.
    EXO_TRY(step({{.slot = 0, .first_position = 9, .tokens = std::span(first).subspan(9)},
                  {.slot = 2, .first_position = 0, .tokens = second, .outputs = OutputRows::all}}));
    EXO_TRY(executor.copy_slot(2, 1, 11));
    EXO_TRY(step({{.slot = 1, .first_position = 11, .tokens = std::span(second).subspan(6, 3)}}));
    for (std::uint32_t i = 0; i < 4; ++i) {
        const auto tokens = random_tokens(3);
        const auto token = [&](std::size_t slot) { return std::span(tokens).subspan(slot, 1); };
        EXO_TRY(step({{.slot = 0, .first_position = 21 + i, .tokens = token(0)},
                      {.slot = 1, .first_position = 14 + i, .tokens = token(1)},
                      {.slot = 2, .first_position = 17 + i, .tokens = token(2)}}));
    }
    return logits;
}

double normalized_error(std::span<const float> actual, std::span<const float> expected,
                        std::size_t width, std::size_t outlier_count) {
    if (actual.size() != expected.size() || actual.empty()) {
        return std::numeric_limits<double>::infinity();
    }
    std::vector<double> errors;
    for (std::size_t begin = 0; begin < actual.size(); begin += width) {
        double error = 0, sum = 0, sum_of_squares = 0;
        for (std::size_t i = begin; i < begin + width; ++i) {
            const double wanted = static_cast<double>(expected[i]);
            const double difference = static_cast<double>(actual[i]) - wanted;
            error += difference * difference;
            sum += wanted;
            sum_of_squares += wanted * wanted;
        }
        error /= sum_of_squares - sum * sum / static_cast<double>(width);
        errors.push_back(std::isfinite(error) ? error : std::numeric_limits<double>::infinity());
    }
    std::ranges::sort(errors);
    errors.resize(errors.size() - outlier_count);
    double mean = 0;
    for (const double error : errors) mean += error / static_cast<double>(errors.size());
    return mean;
}

}  // namespace exomesh::runner::testing
