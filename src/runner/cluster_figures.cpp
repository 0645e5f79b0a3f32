#include "runner/cluster_figures.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/assert.h"

namespace exomesh::runner {

std::size_t StepReport::slowest_rank() const {
    const auto slowest = std::ranges::max_element(ranks, {}, &StepFigures::compute_us);
    return static_cast<std::size_t>(slowest - ranks.begin());
}

std::uint32_t StepReport::behind_us() const {
    const bool is_head_idle = !names.empty() && names.front().is_idle;
    const auto [least, most] =
        std::ranges::minmax(ranks.subspan(is_head_idle ? 1 : 0), {}, &StepFigures::compute_us);
    return most.compute_us - least.compute_us;
}

Quantiles quantiles_of(std::vector<std::uint32_t> values) {
    if (values.empty()) return {};
    std::ranges::sort(values);
    const auto at = [&values](double share) {
        const double rank = std::ceil(share * static_cast<double>(values.size()));
        return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
    };
    return {.p50 = at(0.50), .p99 = at(0.99)};
}

void ClusterFigures::Series::add(std::uint32_t value) {
    if (values_.size() < decode_steps_kept_max) {
        values_.push_back(value);
        return;
    }
    values_[next_] = value;
    next_ = (next_ + 1) % values_.size();
}

ClusterFigures::ClusterFigures(std::size_t rank_count,
                               std::function<void(const StepReport&)> on_step)
    : on_step_(std::move(on_step)), names_(rank_count), sums_(rank_count) {}

void ClusterFigures::set_names(std::vector<RankFacts> names) {
    const std::scoped_lock lock(mutex_);
    EXO_ASSERT(names.size() == names_.size());
    names_ = std::move(names);
}

void ClusterFigures::begin_step(std::uint32_t step, std::uint32_t token_count, bool is_prompt) {
    const std::scoped_lock lock(mutex_);
    EXO_ASSERT(waiting_.empty() || step == waiting_.back().step + 1);
    if (waiting_.size() == steps_waiting_max) waiting_.pop_front();
    waiting_.push_back({.step = step,
                        .token_count = token_count,
                        .is_prompt = is_prompt,
                        .ranks = std::vector<StepFigures>(names_.size()),
                        .has_told = std::vector<bool>(names_.size())});
}

void ClusterFigures::end_step(std::uint32_t step, std::uint32_t oldest_us) {
    const std::scoped_lock lock(mutex_);
    const auto ended = std::ranges::find(waiting_, step, &Waiting::step);
    if (ended != waiting_.end()) ended->oldest_us = oldest_us;
}

Result<void> ClusterFigures::add(std::size_t rank, const StepFigures& figures) {
    const std::scoped_lock lock(mutex_);
    const std::uint32_t first = waiting_.empty() ? 0 : waiting_.front().step;
    if (!waiting_.empty() && figures.step < first) return {};  // given up, or told before
    const std::size_t index = figures.step - first;
    if (index >= waiting_.size() || waiting_[index].has_told[rank]) {
        return fail(ErrorCode::corrupt_data,
                    "it told of step " + std::to_string(figures.step) + ", which it could not.");
    }
    Waiting& waiting = waiting_[index];
    waiting.has_told[rank] = true;
    waiting.ranks[rank] = figures;
    ++waiting.told_count;
    while (!waiting_.empty() && waiting_.front().told_count == names_.size()) {
        complete(waiting_.front());
        waiting_.pop_front();
    }
    return {};
}

void ClusterFigures::complete(const Waiting& waiting) {
    const StepReport report{.step = waiting.step,
                            .token_count = waiting.token_count,
                            .ranks = waiting.ranks,
                            .names = names_};
    if (on_step_) on_step_(report);
    if (waiting.is_prompt) {
        ++statistics_.prompt_step_count;
        statistics_.prompt_token_count += waiting.token_count;
        statistics_.prompt_us += waiting.oldest_us;
        return;
    }
    ++statistics_.decode_step_count;
    step_us_.add(waiting.ranks.front().total_us);
    behind_us_.add(report.behind_us());
    for (std::size_t rank = 0; rank < sums_.size(); ++rank) {
        const StepFigures& figures = waiting.ranks[rank];
        RankSums& sums = sums_[rank];
        sums.compute_us.add(figures.compute_us);
        sums.sum_us.add(figures.sum_us);
        sums.wait_us.add(figures.wait_us);
        sums.sent_bytes += figures.sent_bytes;
        sums.received_bytes += figures.received_bytes;
    }
    ++sums_[report.slowest_rank()].slowest_count;
}

ClusterStatistics ClusterFigures::statistics() const {
    const std::scoped_lock lock(mutex_);
    ClusterStatistics out = statistics_;
    out.step_us = step_us_.quantiles();
    out.behind_us = behind_us_.quantiles();
    const auto count = static_cast<double>(std::max<std::uint64_t>(out.decode_step_count, 1));
    for (std::size_t rank = 0; rank < sums_.size(); ++rank) {
        const RankSums& sums = sums_[rank];
        out.ranks.push_back({.name = names_[rank],
                             .compute_us = sums.compute_us.quantiles(),
                             .sum_us = sums.sum_us.quantiles(),
                             .wait_us = sums.wait_us.quantiles(),
                             .sent_bytes = static_cast<double>(sums.sent_bytes) / count,
                             .received_bytes = static_cast<double>(sums.received_bytes) / count,
                             .slowest_count = sums.slowest_count});
    }
    return out;
}

}  // namespace exomesh::runner
