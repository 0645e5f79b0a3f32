#include "engine/adjustments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/assert.h"

namespace exomesh::engine {

namespace {

std::size_t window_length(const SamplingOptions& options) {
    return static_cast<std::size_t>(options.penalty_window < 0 ? penalty_window_max
                                                               : options.penalty_window);
}

}  // namespace

float LogitAdjustment::of(float logit) const {
    logit += bias;
    if (logit > 0.0F) {
        logit /= repetition;
    } else {
        logit *= repetition;
    }
    return logit - penalty;
}

bool LogitAdjustment::is_usable() const {
    return bias < std::numeric_limits<float>::infinity() && std::isfinite(repetition) &&
           repetition > 0.0F && std::isfinite(penalty);
}

void adjust(std::span<float> logits, model::TokenId first_token,
            std::span<const LogitAdjustment> adjustments) {
    auto next = std::ranges::lower_bound(adjustments, first_token, {}, &LogitAdjustment::token);
    for (; next != adjustments.end(); ++next) {
        const auto place = static_cast<std::size_t>(next->token - first_token);
        if (place >= logits.size()) return;
        logits[place] = next->of(logits[place]);
    }
}

Adjustments::Adjustments(const SamplingOptions& options, std::size_t vocabulary_size)
    : vocabulary_size_(vocabulary_size),
      window_length_(window_length(options)),
      repetition_penalty_(options.repetition_penalty),
      frequency_penalty_(options.frequency_penalty),
      presence_penalty_(options.presence_penalty) {
    for (const auto& [token, bias] : options.logit_bias)
        biases_.push_back({.token = token, .bias = bias});
    fill_list();
}

// False where no penalty is asked for.
bool Adjustments::prepare_counts() {
    const bool has_penalties = (repetition_penalty_ != 1.0F && window_length_ != 0) ||
                               frequency_penalty_ != 0.0F || presence_penalty_ != 0.0F;
    if (!has_penalties) return false;
    if (!count_index_.empty()) return true;
    counts_.reserve(vocabulary_size_);
    count_index_.assign(vocabulary_size_, -1);
    window_.reserve(window_length_);
    list_.reserve(std::min(vocabulary_size_, adjustment_count_max + 1));
    return true;
}

Adjustments::TokenCount& Adjustments::count_of(TokenId token) {
    EXO_ASSERT(token >= 0 && static_cast<std::size_t>(token) < vocabulary_size_);
    std::int32_t& index = count_index_[static_cast<std::size_t>(token)];
    if (index < 0) {
        index = static_cast<std::int32_t>(counts_.size());
        counts_.push_back({.token = token, .in_window = 0, .generated = 0});
    }
    return counts_[static_cast<std::size_t>(index)];
}

void Adjustments::push_window(TokenId token) {
    if (window_length_ == 0) return;
    if (window_.size() < window_length_) {
        window_.push_back(token);
    } else {
        --count_of(window_[window_next_]).in_window;
        window_[window_next_] = token;
        window_next_ = (window_next_ + 1) % window_length_;
    }
    ++count_of(token).in_window;
}

void Adjustments::accept_prompt(std::span<const TokenId> prompt) {
    if (!prepare_counts()) return;
    for (const TokenId token : prompt.last(std::min(prompt.size(), window_length_)))
        push_window(token);
    fill_list();
}

void Adjustments::accept(TokenId token) {
    if (!prepare_counts()) return;
    push_window(token);
    ++count_of(token).generated;
    fill_list();
}

bool Adjustments::is_biased(TokenId token) const {
    return std::ranges::binary_search(biases_, token, {}, &LogitAdjustment::token);
}

void Adjustments::add_penalties(const TokenCount& count, LogitAdjustment& adjustment) const {
    if (count.in_window > 0) adjustment.repetition = repetition_penalty_;
    if (count.generated > 0) {
        adjustment.penalty =
            static_cast<float>(count.generated) * frequency_penalty_ + presence_penalty_;
    }
}

// Each token once. Of tokens that occurred, only those whose logit changes: a prompt has many that
// no penalty is about.
template <typename Use>
void Adjustments::for_each(Use use) const {
    for (LogitAdjustment one : biases_) {
        const std::int32_t index =
            count_index_.empty() ? -1 : count_index_[static_cast<std::size_t>(one.token)];
        if (index >= 0) add_penalties(counts_[static_cast<std::size_t>(index)], one);
        use(one);
    }
    for (const TokenCount& count : counts_) {
        if (is_biased(count.token)) continue;
        LogitAdjustment one{.token = count.token};
        add_penalties(count, one);
        if (one.repetition != 1.0F || one.penalty != 0.0F) use(one);
    }
}

void Adjustments::fill_list() {
    list_.clear();
    for_each([this](const LogitAdjustment& one) {
        if (list_.size() <= adjustment_count_max) list_.push_back(one);
    });
    if (list_.size() <= adjustment_count_max) std::ranges::sort(list_, {}, &LogitAdjustment::token);
}

std::optional<std::span<const LogitAdjustment>> Adjustments::list() const {
    if (list_.size() > adjustment_count_max) return std::nullopt;
    return list_;
}

void Adjustments::apply(std::span<float> logits) const {
    EXO_ASSERT(logits.size() == vocabulary_size_);
    for_each([logits](const LogitAdjustment& one) {
        float& logit = logits[static_cast<std::size_t>(one.token)];
        logit = one.of(logit);
    });
}

}  // namespace exomesh::engine
