#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "base/assert.h"
#include "engine/lanes.h"

namespace exomesh::engine {

namespace {

constexpr std::size_t softmax_block_length = lane_count * register_count * 4;

// exp(x) for x <= 0, and about 1e-38 below -87 or for NaN: a polynomial, n added to the exponent
// bits.
inline Lanes exp_of_negative(Lanes x) {
    const PowerOfTwo split(larger(x, Lanes{} - 87.0F));
    const LaneBits exponent = (std::bit_cast<LaneBits>(split.with_n) + 127U) << 23U;
    return exp_near_zero(split.r) * std::bit_cast<Lanes>(exponent);
}

// exp(logit - maximum), also where both are infinite.
inline Lanes weight_of(Lanes logits, float maximum) {
    const Lanes weights = exp_of_negative(logits - maximum);
    return logits == Lanes{} + maximum ? Lanes{} + 1.0F : weights;
}

inline float weight_of(float logit, float maximum) {
    return weight_of(Lanes{} + logit, maximum)[0];
}

// The sum of exp(logit - maximum): float within a block, double over the blocks.
double sum_of_weights(std::span<const float> logits, float maximum) {
    double sum = 0.0;
    std::size_t begin = 0;
    for (; begin + softmax_block_length <= logits.size(); begin += softmax_block_length) {
        std::array<Lanes, register_count> sums{};
        for (std::size_t i = 0; i < softmax_block_length;) {
            for (Lanes& lanes : sums) {
                lanes += weight_of(load(&logits[begin + i]), maximum);
                i += lane_count;
            }
        }
        const Lanes lanes = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        sum += static_cast<double>((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
    }
    for (; begin < logits.size(); ++begin)
        sum += static_cast<double>(weight_of(logits[begin], maximum));
    return sum;
}

Result<> check_range(const char* name, float value, float minimum, float maximum) {
    if (value >= minimum && value <= maximum) return {};
    return fail(
        ErrorCode::invalid_argument, std::string(name) + " is " + std::to_string(value) + ";",
        "it must be from " + std::to_string(minimum) + " to " + std::to_string(maximum) + ".");
}

Result<> check(const SamplingOptions& options, std::size_t vocabulary_size) {
    constexpr float large = 1e6F;
    EXO_TRY(check_range("temperature", options.temperature, 0.0F, large));
    EXO_TRY(check_range("top_p", options.top_p, 0.0F, 1.0F));
    EXO_TRY(check_range("min_p", options.min_p, 0.0F, 1.0F));
    EXO_TRY(check_range("repetition_penalty", options.repetition_penalty, 1e-3F, 1e3F));
    EXO_TRY(check_range("frequency_penalty", options.frequency_penalty, -large, large));
    EXO_TRY(check_range("presence_penalty", options.presence_penalty, -large, large));
    if (options.penalty_window > penalty_window_max) {
        return fail(ErrorCode::invalid_argument,
                    "penalty_window is " + std::to_string(options.penalty_window) + ";",
                    "it must be at most " + std::to_string(penalty_window_max) + ".");
    }
    for (const auto& [token, bias] : options.logit_bias) {
        if (token < 0 || static_cast<std::size_t>(token) >= vocabulary_size) {
            return fail(
                ErrorCode::invalid_argument,
                "logit_bias names token " + std::to_string(token) + ",",
                "but the model's tokens are 0 to " + std::to_string(vocabulary_size - 1) + ".");
        }
        if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
            return fail(ErrorCode::invalid_argument,
                        "The logit_bias of token " + std::to_string(token) + " is not a number.");
        }
    }
    return {};
}

}  // namespace

RandomGenerator::RandomGenerator(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {  // splitmix64
        seed += 0x9E3779B97F4A7C15ULL;
        std::uint64_t z = seed;
        z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
        word = z ^ (z >> 31U);
    }
}

std::uint64_t RandomGenerator::next() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
}

double RandomGenerator::next_unit() {
    return static_cast<double>(next() >> 11U) * 0x1.0p-53;
}

std::uint64_t fresh_seed() {
    std::random_device device;
    return (std::uint64_t{device()} << 32U) | device();
}

Result<Sampler> Sampler::create(const SamplingOptions& options, std::size_t vocabulary_size,
                                std::shared_ptr<Constraint> constraint) {
    EXO_ASSERT(vocabulary_size > 0 && vocabulary_size <= model::vocabulary_size_max);
    EXO_TRY(check(options, vocabulary_size));
    return Sampler(options, vocabulary_size, std::move(constraint));
}

Sampler::Sampler(const SamplingOptions& options, std::size_t vocabulary_size,
                 std::shared_ptr<Constraint> constraint)
    : options_(options),
      vocabulary_size_(vocabulary_size),
      constraint_(std::move(constraint)),
      random_(options.seed ? *options.seed : fresh_seed()),
      adjustments_(options, vocabulary_size) {
    if (options_.top_k < 0) options_.top_k = 0;
}

void Sampler::accept_prompt(std::span<const TokenId> prompt) {
    adjustments_.accept_prompt(prompt);
}

void Sampler::accept(TokenId token) {
    if (constraint_) constraint_->accept(token);
    adjustments_.accept(token);
}

// The logits after constraint, bias and penalties; the caller's own where nothing changes them.
std::span<const float> Sampler::adjusted(std::span<const float> logits) {
    if (!constraint_ && adjustments_.none()) return logits;
    logits_.assign(logits.begin(), logits.end());
    if (constraint_) constraint_->mask(logits_);
    adjustments_.apply(logits_);
    return logits_;
}

// Fills candidates_ without a top-k: only as deep below the maximum as top-p and min-p can reach.
void Sampler::select_nucleus(std::span<const float> logits, float maximum) {
    float floor = minus_infinity;
    if (options_.min_p > 0.0F) floor = maximum + std::log(options_.min_p);
    if (options_.top_p >= 1.0F) {
        search_.at_least(floor, candidates_);
        return;
    }
    const double total = sum_of_weights(logits, maximum);
    for (float depth = 4.0F;; depth *= 2.0F) {
        const bool everything = depth > 200.0F || maximum - depth <= floor;
        search_.at_least(everything ? floor : maximum - depth, candidates_);
        double mass = 0.0;
        for (const Candidate& candidate : candidates_) {
            mass += static_cast<double>(weight_of(candidate.logit, maximum));
        }
        if (everything || mass >= static_cast<double>(options_.top_p) * total) break;
    }
    std::ranges::sort(candidates_, precedes);
    keep_top_p(total, maximum);
}

// Keeps the shortest front of the sorted candidates that has the probability top_p, at least one.
void Sampler::keep_top_p(double total, float maximum) {
    const double wanted = static_cast<double>(options_.top_p) * total;
    double sum = 0.0;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
        sum += static_cast<double>(weight_of(candidates_[i].logit, maximum));
        if (sum >= wanted) {
            candidates_.resize(i + 1);
            return;
        }
    }
}

// Drops candidates less than min_p times as probable as the best, which is the first.
void Sampler::keep_min_p() {
    if (options_.min_p <= 0.0F) return;
    const float floor = candidates_.front().logit + std::log(options_.min_p);
    std::size_t count = 1;
    while (count < candidates_.size() && candidates_[count].logit >= floor) ++count;
    candidates_.resize(count);
}

// One of the candidates by its probability at the temperature.
TokenId Sampler::draw(float maximum) {
    // Four at a time: without a top-k there may be a whole vocabulary of candidates.
    double total = 0.0;
    for (std::size_t i = 0; i < candidates_.size(); i += lane_count) {
        const std::size_t count = std::min(lane_count, candidates_.size() - i);
        Lanes logits = Lanes{} + maximum;
        for (std::size_t lane = 0; lane < count; ++lane) logits[lane] = candidates_[i + lane].logit;
        const Lanes cooled = exp_of_negative((logits - maximum) / options_.temperature);
        const Lanes weights = logits == Lanes{} + maximum ? Lanes{} + 1.0F : cooled;
        for (std::size_t lane = 0; lane < count; ++lane) {
            candidates_[i + lane].logit = weights[lane];
            total += static_cast<double>(weights[lane]);
        }
    }
    double rest = random_.next_unit() * total;
    for (const Candidate& candidate : candidates_) {
        rest -= static_cast<double>(candidate.logit);
        if (rest < 0.0) return candidate.token;
    }
    return candidates_.back().token;  // rounding used up the sum
}

// Else the probabilities of all tokens count.
bool Sampler::uses_top_k() const {
    const auto top_k = static_cast<std::size_t>(options_.top_k);
    return top_k > 0 && top_k < vocabulary_size_;
}

std::unexpected<Error> Sampler::nothing_left() const {
    return fail(ErrorCode::internal,
                constraint_
                    ? "No token is left to choose from: the output format allows none here, or"
                      " the model computed no number at all."
                    : "The model computed no number for any token.",
                "Check the file's checksum, or try another device with --device cpu.");
}

// By sample() alone; 0: the whole row.
std::uint32_t Sampler::candidates_needed() const {
    if (constraint_) return 0;
    if (options_.temperature <= 0.0F) return 1;
    return uses_top_k() ? static_cast<std::uint32_t>(options_.top_k) : 0;
}

RowNeeds Sampler::row_needs(std::optional<int> top_logprob_count) const {
    const auto adjustments = adjustments_.list();
    const std::uint32_t needed = candidates_needed();
    if (needed == 0 || !adjustments) return {};
    // Logarithms of probabilities are those of logits that nothing was done to.
    if (top_logprob_count && !adjustments->empty()) return {};
    const auto top_count = static_cast<std::uint32_t>(top_logprob_count.value_or(0));
    const RowNeeds needs{.candidate_count = std::max(needed, top_count),
                         .normalizer = top_logprob_count.has_value(),
                         .adjustments = *adjustments};
    return needs.candidate_count > candidate_count_max ? RowNeeds{} : needs;
}

Result<TokenId> Sampler::sample(const OutputRow& row) {
    if (!row.logits.empty()) {
        EXO_ASSERT(row.logits.size() == vocabulary_size_);
        const std::span<const float> logits = adjusted(row.logits);
        if (search_.look_at(logits) == minus_infinity) return nothing_left();
        return choose(logits);
    }
    EXO_ASSERT(candidates_needed() > 0);
    if (row.candidates.empty()) return nothing_left();
    if (options_.temperature <= 0.0F) return row.candidates.front().token;
    const auto count = std::min(row.candidates.size(), static_cast<std::size_t>(options_.top_k));
    candidates_.assign(row.candidates.begin(),
                       row.candidates.begin() + static_cast<std::ptrdiff_t>(count));
    return choose_among_top();
}

TokenId Sampler::choose(std::span<const float> logits) {
    if (options_.temperature <= 0.0F) return search_.largest();
    if (!uses_top_k()) {
        select_nucleus(logits, search_.maximum());
        return draw(search_.maximum());
    }
    search_.top(static_cast<std::size_t>(options_.top_k), candidates_);
    return choose_among_top();
}

// With the top-k as candidates_.
TokenId Sampler::choose_among_top() {
    const float maximum = candidates_.front().logit;
    if (options_.top_p < 1.0F) {
        double total = 0.0;
        for (const Candidate& candidate : candidates_) {
            total += static_cast<double>(weight_of(candidate.logit, maximum));
        }
        keep_top_p(total, maximum);
    }
    keep_min_p();
    return draw(maximum);
}

Result<LogProbabilities> Sampler::log_softmax_top(const OutputRow& row, TokenId chosen, int count) {
    EXO_ASSERT(chosen >= 0 && static_cast<std::size_t>(chosen) < vocabulary_size_);
    EXO_ASSERT(count >= 0 && count <= top_logprob_count_max);
    const auto wanted = static_cast<std::size_t>(count);
    std::span<const Candidate> candidates = row.candidates;
    std::optional<Normalizer> normalizer;
    float chosen_logit = minus_infinity;
    if (!row.logits.empty()) {
        EXO_ASSERT(row.logits.size() == vocabulary_size_);
        candidates_.clear();
        if (search_.look_at(row.logits) > minus_infinity && wanted > 0) {
            search_.top(wanted, candidates_);
        }
        candidates = candidates_;
        normalizer.emplace(row.logits);
        chosen_logit = row.logits[static_cast<std::size_t>(chosen)];
    } else {
        EXO_ASSERT(row.normalizer != nullptr);
        normalizer = *row.normalizer;
        const auto found = std::ranges::find(candidates, chosen, &Candidate::token);
        if (found != candidates.end()) chosen_logit = found->logit;
    }
    if (normalizer->exponent == Normalizer::exponent_none) {
        return fail(ErrorCode::internal, "The model computed no number for any token.");
    }
    LogProbabilities result{.chosen = normalizer->log_probability(chosen_logit), .top = {}};
    for (const Candidate& candidate : candidates.first(std::min(wanted, candidates.size()))) {
        result.top.push_back(
            {.token = candidate.token, .logprob = normalizer->log_probability(candidate.logit)});
    }
    return result;
}

}  // namespace exomesh::engine
