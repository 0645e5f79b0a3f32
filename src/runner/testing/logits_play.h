// One play for whatever computes steps, with everything an engine does to it, and the logits that
// come out: what a model on several ranks is compared by with the same model on one.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model_file.h"
#include "engine/step_executor.h"
#include "engine/testing/synthetic_model.h"
#include "model/architecture.h"

namespace exomesh::runner::testing {

inline constexpr std::uint32_t play_slot_count = 3;

// A model with random weights in a file of its own, which goes with this object.
class TemporaryModel {
  public:
    TemporaryModel(const model::Architecture& architecture,
                   const engine::testing::SyntheticOptions& options);
    TemporaryModel(const TemporaryModel&) = delete;
    TemporaryModel& operator=(const TemporaryModel&) = delete;
    ~TemporaryModel();

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] const engine::ModelFile& file() const { return *file_; }

  private:
    std::string path_;
    std::unique_ptr<const engine::ModelFile> file_;
};

// Of a small instance with play_slot_count slots, one thread each rank.
[[nodiscard]] engine::EngineOptions play_options(const TemporaryModel& model);

// Prompts in chunks and at once, a slot copied, and three slots decoding side by side.
[[nodiscard]] Result<std::vector<float>> play(engine::StepExecutor& executor);

// The error's share of the variance, per row of `width` values, and of these the mean without the
// `outlier_count` largest: 0 where equal, about 2 where unrelated.
[[nodiscard]] double normalized_error(std::span<const float> actual,
                                      std::span<const float> expected, std::size_t width,
                                      std::size_t outlier_count = 0);

}  // namespace exomesh::runner::testing
