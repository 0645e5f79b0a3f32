// An executor that passes all on to another one: what tests that step in between derive from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "engine/step_executor.h"

namespace exomesh::engine::testing {

class ForwardingExecutor : public StepExecutor {
  public:
    explicit ForwardingExecutor(std::unique_ptr<StepExecutor> next) : next_(std::move(next)) {}

    [[nodiscard]] std::uint32_t stage_count() const override { return next_->stage_count(); }
    Result<void> start(std::span<const SlotTokens> batch) override { return next_->start(batch); }
    Result<std::span<const OutputRow>> finish() override { return next_->finish(); }
    std::optional<Error> loss() override { return next_->loss(); }
    Result<void> copy_slot(std::uint32_t from_slot, std::uint32_t to_slot,
                           std::uint32_t length) override {
        return next_->copy_slot(from_slot, to_slot, length);
    }
    [[nodiscard]] std::uint32_t output_length() const override { return next_->output_length(); }
    [[nodiscard]] std::uint32_t context_length() const override { return next_->context_length(); }
    [[nodiscard]] std::uint64_t weight_bytes() const override { return next_->weight_bytes(); }
    [[nodiscard]] std::uint64_t cache_bytes() const override { return next_->cache_bytes(); }
    [[nodiscard]] std::uint64_t compute_bytes() const override { return next_->compute_bytes(); }

  private:
    std::unique_ptr<StepExecutor> next_;
};

}  // namespace exomesh::engine::testing
