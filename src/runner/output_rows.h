// A step's output on its way from the ranks of the last stage, which have some rows of the
// vocabulary each, to the head: of every token's logits the whole of them, or the candidates that
// sampling needs, chosen after what it does to a few of the logits. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/logits_search.h"
#include "engine/output_row.h"
#include "engine/shard_slice.h"
#include "engine/step_executor.h"

namespace exomesh::runner {

// What each row of a step's output needs, in order.
void list_rows(std::span<const engine::SlotTokens> batch, std::vector<engine::RowNeeds>& out);

// The payload of one rank that has this many rows of the vocabulary.
[[nodiscard]] std::size_t output_bytes(std::span<const engine::RowNeeds> rows,
                                       std::uint32_t vocabulary_count);

// Of a rank of the last stage. Keeps its memory between steps.
class OutputEncoder {
  public:
    // `logits`: of the rank's vocabulary, row by row. The result is valid until the next call, and
    // for as long as the logits are.
    [[nodiscard]] std::span<const std::byte> encode(std::span<const engine::RowNeeds> rows,
                                                    std::span<const float> logits,
                                                    engine::Range vocabulary);

  private:
    // Valid until the next call, and for as long as `row` is.
    [[nodiscard]] std::span<const float> adjusted(
        std::span<const float> row, model::TokenId first_token,
        std::span<const engine::LogitAdjustment> adjustments);

    std::vector<float> adjusted_;
    engine::LogitsSearch search_;
    std::vector<engine::Candidate> candidates_;
    std::vector<std::byte> bytes_;
};

// Of the head: puts the parts of all ranks together. Candidates of the whole vocabulary are exact,
// since each rank names as many as are wanted of all.
class OutputCollector {
  public:
    // Begins a step's output; `rows` is kept, but for what their adjustments refer to.
    void begin(std::span<const engine::RowNeeds> rows, std::uint32_t vocabulary_size);
    // One rank's part. corrupt_data: it is none of these rows over this part of the vocabulary.
    [[nodiscard]] Result<void> add(engine::Range vocabulary, std::span<const std::byte> payload);
    // Valid until the next begin().
    [[nodiscard]] std::span<const engine::OutputRow> finish();

  private:
    [[nodiscard]] Result<void> add_candidates(std::size_t row, engine::Range vocabulary,
                                              std::span<const std::byte>& payload);

    std::vector<engine::RowNeeds> rows_;
    std::uint32_t vocabulary_size_ = 0;
    std::vector<float> logits_;                               // of whole rows, one behind the other
    std::vector<std::vector<engine::Candidate>> candidates_;  // by row; so are normalizers_
    std::vector<engine::Normalizer> normalizers_;
    std::vector<engine::OutputRow> output_;
};

}  // namespace exomesh::runner
