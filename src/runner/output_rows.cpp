#include "runner/output_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "engine/adjustments.h"

namespace exomesh::runner {

namespace {

using engine::Candidate;
using engine::Normalizer;
using engine::RowNeeds;

// All little-endian, one row behind the other:
//   whole row  = logits f32
//   candidates = [exponent i32 | sums u64 * sum_count, where the normalizer is wanted]
//                | (logit f32 | token i32) * count
// Where fewer tokens than wanted have a probability, the rest is nobody: token_none at -infinity.
constexpr std::size_t candidate_bytes = 8;
constexpr std::size_t normalizer_bytes = 4 + 8 * Normalizer::sum_count;
constexpr Candidate nobody = {-std::numeric_limits<float>::infinity(), model::token_none};

std::size_t row_bytes(const RowNeeds& row, std::uint32_t vocabulary_count) {
    if (row.whole()) return vocabulary_count * sizeof(float);
    return row.candidate_count * candidate_bytes + (row.normalizer ? normalizer_bytes : 0);
}

template <typename T>
std::byte* put_next(std::byte* to, const T& value) {
    std::memcpy(to, &value, sizeof value);
    return to + sizeof value;
}

template <typename T>
T take(std::span<const std::byte>& from) {
    T value;
    std::memcpy(&value, from.data(), sizeof value);
    from = from.subspan(sizeof value);
    return value;
}

std::unexpected<Error> bad_output(const std::string& why) {
    return fail(ErrorCode::corrupt_data, "the output of a step " + why + ".");
}

Result<Normalizer> take_normalizer(std::span<const std::byte>& payload) {
    Normalizer normalizer;
    normalizer.exponent = take<std::int32_t>(payload);
    for (std::uint64_t& sum : normalizer.sums) {
        sum = take<std::uint64_t>(payload);
        if (sum >= Normalizer::sum_max) return bad_output("has a sum beyond its limit");
        if (sum > 0 && normalizer.exponent == Normalizer::exponent_none)
            return bad_output("has a sum of nothing");
    }
    const bool is_known = normalizer.exponent >= -Normalizer::exponent_max &&
                          normalizer.exponent <= Normalizer::exponent_max;
    if (normalizer.exponent == Normalizer::exponent_none) return normalizer;
    if (!is_known || normalizer.sums[0] == 0) return bad_output("has a sum of an unknown size");
    return normalizer;
}

}  // namespace

void list_rows(std::span<const engine::SlotTokens> batch, std::vector<RowNeeds>& out) {
    out.clear();
    for (const engine::SlotTokens& slot : batch) {
        if (slot.outputs == engine::OutputRows::none) continue;
        const bool all = slot.outputs == engine::OutputRows::all;
        out.insert(out.end(), all ? slot.tokens.size() : 1, slot.needs);
    }
}

std::size_t output_bytes(std::span<const RowNeeds> rows, std::uint32_t vocabulary_count) {
    std::size_t total = 0;
    for (const RowNeeds& row : rows) total += row_bytes(row, vocabulary_count);
    return total;
}

// The device's own memory is left alone.
std::span<const float> OutputEncoder::adjusted(
    std::span<const float> row, model::TokenId first_token,
    std::span<const engine::LogitAdjustment> adjustments) {
    if (adjustments.empty()) return row;
    adjusted_.assign(row.begin(), row.end());
    engine::adjust(adjusted_, first_token, adjustments);
    return adjusted_;
}

std::span<const std::byte> OutputEncoder::encode(std::span<const RowNeeds> rows,
                                                 std::span<const float> logits,
                                                 engine::Range vocabulary) {
    EXO_ASSERT(logits.size() == rows.size() * vocabulary.count);
    if (std::ranges::all_of(rows, &RowNeeds::whole)) return std::as_bytes(logits);
    bytes_.resize(output_bytes(rows, vocabulary.count));
    std::byte* to = bytes_.data();
    for (const RowNeeds& row : rows) {
        const auto own = logits.first(vocabulary.count);
        logits = logits.subspan(vocabulary.count);
        if (row.whole()) {
            to = std::ranges::copy(std::as_bytes(own), to).out;
            continue;
        }
        if (row.normalizer) {
            const Normalizer normalizer(own);
            to = put_next(put_next(to, normalizer.exponent), normalizer.sums);
        }
        const auto first_token = static_cast<model::TokenId>(vocabulary.first);
        search_.look_at(adjusted(own, first_token, row.adjustments), first_token);
        search_.top(row.candidate_count, candidates_);
        candidates_.resize(row.candidate_count, nobody);
        for (const Candidate& one : candidates_) to = put_next(put_next(to, one.logit), one.token);
    }
    return bytes_;
}

void OutputCollector::begin(std::span<const RowNeeds> rows, std::uint32_t vocabulary_size) {
    rows_.assign(rows.begin(), rows.end());
    vocabulary_size_ = vocabulary_size;
    const auto whole_count =
        static_cast<std::size_t>(std::ranges::count_if(rows, &RowNeeds::whole));
    logits_.resize(whole_count * vocabulary_size);
    if (candidates_.size() < rows.size()) candidates_.resize(rows.size());
    for (std::vector<Candidate>& candidates : candidates_) candidates.clear();
    normalizers_.assign(rows.size(), {});
}

Result<void> OutputCollector::add(engine::Range vocabulary, std::span<const std::byte> payload) {
    EXO_ASSERT(vocabulary.end() <= vocabulary_size_);
    if (payload.size() != output_bytes(rows_, vocabulary.count))
        return bad_output("has a wrong size");
    std::size_t to = vocabulary.first;  // in logits_, which may be empty
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        if (!rows_[row].whole()) {
            EXO_TRY(add_candidates(row, vocabulary, payload));
            continue;
        }
        const std::size_t size_bytes = vocabulary.count * sizeof(float);
        if (size_bytes > 0) std::memcpy(&logits_[to], payload.data(), size_bytes);
        payload = payload.subspan(size_bytes);
        to += vocabulary_size_;
    }
    return {};
}

Result<void> OutputCollector::add_candidates(std::size_t row, engine::Range vocabulary,
                                             std::span<const std::byte>& payload) {
    if (rows_[row].normalizer) {
        EXO_TRY_ASSIGN(const Normalizer part, take_normalizer(payload));
        normalizers_[row].add(part);
    }
    bool has_ended = false;
    Candidate before = nobody;
    for (std::uint32_t i = 0; i < rows_[row].candidate_count; ++i) {
        const Candidate one{.logit = take<float>(payload), .token = take<model::TokenId>(payload)};
        has_ended = has_ended || one == nobody;
        if (has_ended) {
            if (one != nobody) return bad_output("has candidates after the last one");
            continue;
        }
        const auto token = static_cast<std::uint32_t>(one.token);
        if (token < vocabulary.first || token >= vocabulary.end())
            return bad_output("names tokens of others");
        if (!(one.logit > nobody.logit) || (i > 0 && !precedes(before, one)))
            return bad_output("has candidates out of order");
        before = one;
        candidates_[row].push_back(one);
    }
    return {};
}

std::span<const engine::OutputRow> OutputCollector::finish() {
    output_.clear();
    std::span<const float> whole_rows = logits_;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
        if (rows_[row].whole()) {
            output_.push_back({.logits = whole_rows.first(vocabulary_size_)});
            whole_rows = whole_rows.subspan(vocabulary_size_);
            continue;
        }
        std::vector<Candidate>& candidates = candidates_[row];
        std::ranges::sort(candidates, engine::precedes);
        const auto count = std::min<std::size_t>(candidates.size(), rows_[row].candidate_count);
        candidates.resize(count);
        output_.push_back({.logits = {},
                           .candidates = candidates,
                           .normalizer = rows_[row].normalizer ? &normalizers_[row] : nullptr});
    }
    return output_;
}

}  // namespace exomesh::runner
