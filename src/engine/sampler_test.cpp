#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <vector>

namespace exomesh::engine {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

SamplingOptions plain_options() {
    SamplingOptions options;
    options.temperature = 1.0F;
    options.top_k = 0;
    options.top_p = 1.0F;
    options.min_p = 0.0F;
    options.seed = 1;
    return options;
}

SamplingOptions greedy_options() {
    SamplingOptions options = plain_options();
    options.temperature = 0.0F;
    return options;
}

Sampler make_sampler(const SamplingOptions& options, std::size_t vocabulary_size) {
    auto sampler = Sampler::create(options, vocabulary_size);
    EXPECT_TRUE(sampler.has_value());
    return std::move(*sampler);
}

// The chain as its definition reads: sort everything, then filter. Gives every token's probability.
std::vector<double> naive_probabilities(const SamplingOptions& options,
                                        const std::vector<float>& given,
                                        const std::vector<TokenId>& prompt,
                                        const std::vector<TokenId>& generated) {
    std::vector<double> logits;
    for (const float logit : given) logits.push_back(std::isnan(logit) ? -infinity : logit);
    for (const auto& [token, bias] : options.logit_bias) logits[token] += bias;
    std::vector<TokenId> all = prompt;
    all.insert(all.end(), generated.begin(), generated.end());
    const std::size_t window =
        std::min(all.size(), static_cast<std::size_t>(options.penalty_window));
    for (std::size_t token = 0; token < logits.size(); ++token) {
        const auto id = static_cast<TokenId>(token);
        if (std::count(all.end() - static_cast<std::ptrdiff_t>(window), all.end(), id) > 0) {
            logits[token] = logits[token] > 0 ? logits[token] / options.repetition_penalty
                                              : logits[token] * options.repetition_penalty;
        }
        const auto count = std::ranges::count(generated, id);
        logits[token] -= static_cast<double>(count) * options.frequency_penalty;
        if (count > 0) logits[token] -= options.presence_penalty;
    }
    std::vector<std::size_t> order(logits.size());
    std::ranges::iota(order, 0U);
    std::ranges::stable_sort(order, [&](auto a, auto b) { return logits[a] > logits[b]; });
    if (options.top_k > 0)
        order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));

    const double best = logits[order.front()];
    double total = 0;
    for (const auto token : order) total += std::exp(logits[token] - best);
    double sum = 0;
    std::size_t kept = 0;
    while (kept < order.size() &&
           (kept == 0 || sum < options.top_p * total || options.top_p >= 1)) {
        sum += std::exp(logits[order[kept++]] - best);
    }
    order.resize(kept);
    if (options.min_p > 0) {
        std::erase_if(order, [&](auto token) {
            return token != order.front() && std::exp(logits[token] - best) < options.min_p;
        });
    }
    std::vector<double> probabilities(logits.size(), 0.0);
    for (const auto token : order) {
        probabilities[token] = std::exp((logits[token] - best) / options.temperature);
    }
    const double norm = std::accumulate(probabilities.begin(), probabilities.end(), 0.0);
    for (double& probability : probabilities) probability /= norm;
    return probabilities;
}

std::vector<float> random_logits(std::mt19937_64& random, std::size_t count) {
    std::normal_distribution<float> bell(0.0F, 3.0F);
    std::vector<float> logits(count);
    for (float& logit : logits) {
        logit = bell(random);
        if (random() % 16 == 0) logit = -infinity;
        if (random() % 32 == 0) logit = not_a_number;
    }
    logits[random() % count] = 3.0F;
    return logits;
}

TEST(RandomGenerator, gives_the_published_sequence) {
    // Computed apart from this code with 64-bit integer arithmetic from the authors' definitions.
    RandomGenerator zero(0);
    EXPECT_EQ(zero.next(), 0x53175D61490B23DFULL);
    EXPECT_EQ(zero.next(), 0x61DA6F3DC380D507ULL);
    RandomGenerator unit(7);
    for (int i = 0; i < 1000; ++i) {
        const double value = unit.next_unit();
        EXPECT_GE(value, 0.0);
        EXPECT_LT(value, 1.0);
    }
}

TEST(Sampler, greedy_takes_the_first_largest_logit_wherever_it_stands) {
    SamplingOptions options = plain_options();
    options.temperature = 0.0F;
    for (const std::size_t size : {1U, 2U, 63U, 64U, 65U, 200U}) {
        Sampler sampler = make_sampler(options, size);
        for (std::size_t at = 0; at < size; ++at) {
            std::vector<float> logits(size, -1.0F);
            logits[at] = 2.0F;
            logits.back() = 2.0F;
            EXPECT_EQ(sampler.sample(logits), static_cast<TokenId>(at));
        }
    }
}

TEST(Sampler, treats_nan_as_impossible_and_reports_when_nothing_is_left) {
    for (const float temperature : {0.0F, 1.0F}) {
        for (const std::int32_t top_k : {0, 1, 2, 40}) {
            SamplingOptions options = plain_options();
            options.temperature = temperature;
            options.top_k = top_k;
            Sampler sampler = make_sampler(options, 5);
            const std::vector<float> one = {not_a_number, -infinity, -7.0F, not_a_number,
                                            -infinity};
            for (int i = 0; i < 20; ++i) EXPECT_EQ(sampler.sample(one), 2);
            const std::vector<float> none = {not_a_number, -infinity, not_a_number, -infinity,
                                             -infinity};
            const auto result = sampler.sample(none);
            ASSERT_FALSE(result.has_value());
            EXPECT_EQ(result.error().code, ErrorCode::internal);
            const std::vector<float> infinite = {1.0F, infinity, 3.0F, not_a_number, 2.0F};
            EXPECT_EQ(sampler.sample(infinite), 1);
        }
    }
}

// Random options on random logits: only tokens the naive chain allows come out, and all likely ones
// do.
TEST(Sampler, draws_from_the_support_of_the_naive_chain) {
    std::mt19937_64 random(11);
    const auto pick = [&](auto... values) {
        const std::array list = {values...};
        return list[random() % list.size()];
    };
    for (int round = 0; round < 400; ++round) {
        const std::size_t size = 1 + random() % 300;
        SamplingOptions options = plain_options();
        options.seed = random();
        options.temperature = pick(0.3F, 1.0F, 1.7F);
        options.top_k = pick(0, 1, 3, 40, 1000);
        options.top_p = pick(0.0F, 0.3F, 0.9F, 1.0F);
        options.min_p = pick(0.0F, 0.05F, 0.5F, 1.0F);
        options.repetition_penalty = pick(1.0F, 1.3F, 0.8F);
        options.frequency_penalty = pick(0.0F, 0.4F, -0.3F);
        options.presence_penalty = pick(0.0F, 0.7F);
        options.penalty_window = pick(0, 1, 5, 64);
        const auto any_token = [&] { return static_cast<TokenId>(random() % size); };
        for (int i = 0; i < pick(0, 3); ++i)
            options.logit_bias[any_token()] = pick(-infinity, -2.0F, 3.0F);
        std::vector<TokenId> prompt(random() % 10);
        std::vector<TokenId> generated(random() % 10);
        std::ranges::generate(prompt, any_token);
        std::ranges::generate(generated, any_token);

        Sampler sampler = make_sampler(options, size);
        sampler.accept_prompt(prompt);
        for (const TokenId token : generated) sampler.accept(token);
        const std::vector<float> logits = random_logits(random, size);
        std::vector<float> biased = logits;
        for (const auto& [token, bias] : options.logit_bias) biased[token] += bias;
        if (std::ranges::none_of(biased, [](float x) { return x > -infinity; })) continue;
        const std::vector<double> expected =
            naive_probabilities(options, logits, prompt, generated);

        std::vector<int> seen(size, 0);
        for (int i = 0; i < 400; ++i) {
            const TokenId token = sampler.sample(logits).value();
            ASSERT_GT(expected[token], 0.0) << "round " << round << " token " << token;
            ++seen[token];
        }
        for (std::size_t token = 0; token < size; ++token) {
            if (expected[token] > 0.05) {
                EXPECT_GT(seen[token], 0) << "round " << round;
            }
        }
    }
}

// Pearson's chi-square: with d degrees of freedom the value stays below d + 4 sqrt(2 d) + 8 far
// more than 999 times in 1000; the seed is fixed, so the test does not flicker.
void expect_distribution(const SamplingOptions& options, const std::vector<float>& logits) {
    const std::vector<double> expected = naive_probabilities(options, logits, {}, {});
    Sampler sampler = make_sampler(options, logits.size());
    constexpr int draw_count = 200'000;
    std::vector<int> seen(logits.size(), 0);
    for (int i = 0; i < draw_count; ++i) ++seen[sampler.sample(logits).value()];
    double chi_square = 0;
    int cell_count = 0;
    for (std::size_t token = 0; token < logits.size(); ++token) {
        const double wanted = expected[token] * draw_count;
        if (wanted == 0) {
            EXPECT_EQ(seen[token], 0);
            continue;
        }
        chi_square += (seen[token] - wanted) * (seen[token] - wanted) / wanted;
        ++cell_count;
    }
    const double freedom = cell_count - 1;
    EXPECT_LT(chi_square, freedom + 4 * std::sqrt(2 * freedom) + 8);
}

TEST(Sampler, follows_the_distribution) {
    const std::vector<float> logits = {0.0F, 1.0F, 2.0F, -1.0F, 0.5F, 2.0F, -0.5F, 1.5F};
    expect_distribution(plain_options(), logits);
    SamplingOptions hot = plain_options();
    hot.temperature = 2.5F;
    expect_distribution(hot, logits);
    SamplingOptions nucleus = plain_options();
    nucleus.top_p = 0.8F;
    nucleus.temperature = 0.7F;
    expect_distribution(nucleus, logits);
    SamplingOptions chain = plain_options();
    chain.top_k = 5;
    chain.top_p = 0.9F;
    chain.min_p = 0.2F;
    chain.logit_bias = {{3, 2.5F}, {5, -infinity}};
    expect_distribution(chain, logits);
}

TEST(Sampler, repeats_itself_from_a_seed_and_not_without) {
    std::mt19937_64 random(5);
    std::vector<float> logits(1000, 0.0F);
    SamplingOptions options = plain_options();
    const auto run = [&] {
        Sampler sampler = make_sampler(options, logits.size());
        std::vector<TokenId> tokens;
        for (int i = 0; i < 20; ++i) tokens.push_back(sampler.sample(logits).value());
        return tokens;
    };
    EXPECT_EQ(run(), run());
    options.seed.reset();
    EXPECT_NE(run(), run());
}

TEST(Sampler, forgets_tokens_that_leave_the_window) {
    SamplingOptions options = plain_options();
    options.temperature = 0.0F;
    options.repetition_penalty = 10.0F;
    options.penalty_window = 2;
    Sampler sampler = make_sampler(options, 4);
    const std::vector<float> logits = {3.0F, 2.0F, 1.0F, -1.0F};
    sampler.accept_prompt(std::vector<TokenId>{1, 1, 1, 0});
    EXPECT_EQ(sampler.sample(logits), 2);  // 0 and 1 are in the window
    sampler.accept(2);
    EXPECT_EQ(sampler.sample(logits), 1);  // 0 and 2
    sampler.accept(1);
    EXPECT_EQ(sampler.sample(logits), 0);  // 2 and 1
}

class OnlyEven : public Constraint {
  public:
    void mask(std::vector<float>& logits) override {
        for (std::size_t i = 1; i < logits.size(); i += 2) logits[i] = -infinity;
    }
    void accept(TokenId token) override { accepted.push_back(token); }
    std::vector<TokenId> accepted;
};

TEST(Sampler, asks_the_constraint_first_and_tells_it_what_was_accepted) {
    SamplingOptions options = plain_options();
    options.logit_bias = {{1, 100.0F}, {4, 5.0F}};
    const auto constraint = std::make_shared<OnlyEven>();
    Sampler sampler = Sampler::create(options, 6, constraint).value();
    sampler.accept_prompt(std::vector<TokenId>{1, 3});
    const std::vector<float> logits(6, 0.0F);
    std::map<TokenId, int> seen;
    for (int i = 0; i < 100; ++i) ++seen[sampler.sample(logits).value()];
    EXPECT_EQ(seen[1] + seen[3] + seen[5], 0);
    EXPECT_GT(seen[4], 80);
    sampler.accept(4);
    EXPECT_THAT(constraint->accepted, ::testing::ElementsAre(4));
    EXPECT_EQ(logits, std::vector<float>(6, 0.0F));  // the caller's own are left alone
}

TEST(Sampler, refuses_options_out_of_range) {
    const auto refused = [](auto change) {
        SamplingOptions options = plain_options();
        change(options);
        const auto sampler = Sampler::create(options, 10);
        return !sampler && sampler.error().code == ErrorCode::invalid_argument;
    };
    EXPECT_FALSE(refused([](SamplingOptions&) {}));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.temperature = not_a_number; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.temperature = -0.1F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.top_p = 1.1F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.min_p = -1.0F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.repetition_penalty = 0.0F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.frequency_penalty = infinity; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.penalty_window = penalty_window_max + 1; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.logit_bias[10] = 1.0F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.logit_bias[-1] = 1.0F; }));
    EXPECT_TRUE(refused([](SamplingOptions& o) { o.logit_bias[1] = not_a_number; }));
}

// What ranks that share a vocabulary make of a row together: see runner/output_rows.h.
class Summary {
  public:
    Summary(std::span<const float> logits, const RowNeeds& needs, std::mt19937_64& random) {
        LogitsSearch search;
        std::vector<Candidate> part;
        std::vector<float> adjusted;
        while (!logits.empty()) {
            const std::size_t blocks = logits.size() / normalizer_block_length;
            const std::size_t wanted = (1 + random() % (blocks + 1)) * normalizer_block_length;
            const auto own = logits.first(std::min(wanted, logits.size()));
            adjusted.assign(own.begin(), own.end());
            adjust(adjusted, next_, needs.adjustments);
            search.look_at(adjusted, next_);
            search.top(needs.candidate_count, part);
            candidates_.insert(candidates_.end(), part.begin(), part.end());
            normalizer_.add(Normalizer(own));
            next_ += static_cast<TokenId>(own.size());
            logits = logits.subspan(own.size());
        }
        std::ranges::sort(candidates_, precedes);
        candidates_.resize(
            std::min(candidates_.size(), static_cast<std::size_t>(needs.candidate_count)));
    }
    [[nodiscard]] OutputRow row(const RowNeeds& needs) const {
        return {.logits = {},
                .candidates = candidates_,
                .normalizer = needs.normalizer ? &normalizer_ : nullptr};
    }

  private:
    TokenId next_ = 0;
    std::vector<Candidate> candidates_;
    Normalizer normalizer_;
};

// Few different values: ties everywhere, also across the border of a top-k.
std::vector<float> tied_logits(std::mt19937_64& random, std::size_t count) {
    std::vector<float> logits = random_logits(random, count);
    for (float& logit : logits) logit = std::round(logit);
    return logits;
}

SamplingOptions random_options(std::mt19937_64& random) {
    const auto pick = [&](auto... values) {
        const std::array list = {values...};
        return list[random() % list.size()];
    };
    SamplingOptions options = plain_options();
    options.seed = random();
    options.temperature = pick(0.0F, 0.0F, 0.3F, 1.0F, 1.7F);
    options.top_k = pick(0, 1, 3, 40, 64, 65, 1000);
    options.top_p = pick(0.0F, 0.3F, 0.9F, 1.0F);
    options.min_p = pick(0.0F, 0.05F, 0.5F, 1.0F);
    options.repetition_penalty = pick(1.0F, 1.0F, 1.3F, 0.8F);
    options.frequency_penalty = pick(0.0F, 0.0F, 0.4F, -0.3F);
    options.presence_penalty = pick(0.0F, 0.0F, 0.7F);
    options.penalty_window = pick(0, 3, 64, -1);
    return options;
}

void add_biases(SamplingOptions& options, std::size_t vocabulary_size, std::mt19937_64& random) {
    for (int i = 0; i < 4; ++i) {
        const auto token = static_cast<TokenId>(random() % vocabulary_size);
        options.logit_bias[token] = i == 0 ? -infinity : static_cast<float>(random() % 9) - 4.0F;
    }
}

void expect_the_same(const Result<TokenId>& actual, const Result<TokenId>& expected) {
    ASSERT_EQ(actual.has_value(), expected.has_value());
    if (expected) {
        EXPECT_EQ(*actual, *expected);
    } else {
        EXPECT_EQ(actual.error().text(), expected.error().text());
    }
}

// The same tokens from the same seed, as many random numbers drawn, and the same logprobs to the
// last bit.
TEST(Sampler, gets_the_same_from_candidates_as_from_whole_rows) {
    std::mt19937_64 random(17);
    int candidates_count = 0;
    int adjusted_count = 0;
    int whole_count = 0;
    for (int round = 0; round < 3000; ++round) {
        const std::size_t size = 1 + random() % 900;
        SamplingOptions options = random_options(random);
        if (random() % 3 == 0) add_biases(options, size, random);
        std::vector<TokenId> prompt(random() % 80);
        std::ranges::generate(prompt, [&] { return static_cast<TokenId>(random() % size); });
        const std::optional<int> top_count =
            random() % 2 == 0 ? std::nullopt : std::optional(static_cast<int>(random() % 21));
        Sampler from_rows = make_sampler(options, size);
        Sampler from_candidates = make_sampler(options, size);
        for (Sampler* sampler : {&from_rows, &from_candidates}) sampler->accept_prompt(prompt);
        for (int step = 0; step < 6; ++step) {
            std::vector<float> logits =
                random() % 2 == 0 ? random_logits(random, size) : tied_logits(random, size);
            if (random() % 20 == 0)
                std::ranges::fill(logits, random() % 2 == 0 ? -infinity : not_a_number);
            if (random() % 20 == 0) logits[random() % size] = infinity;
            const RowNeeds needs = from_candidates.row_needs(top_count);
            (needs.whole() ? whole_count : candidates_count) += 1;
            if (!needs.adjustments.empty()) ++adjusted_count;
            if (needs.whole()) break;
            const Summary summary(logits, needs, random);
            const OutputRow whole{.logits = logits};
            const auto expected = from_rows.sample(whole);
            expect_the_same(from_candidates.sample(summary.row(needs)), expected);
            if (!expected) continue;
            from_rows.accept(*expected);
            from_candidates.accept(*expected);
            if (!top_count) continue;
            const auto wanted = from_rows.log_softmax_top(whole, *expected, *top_count).value();
            const auto found =
                from_candidates.log_softmax_top(summary.row(needs), *expected, *top_count).value();
            EXPECT_EQ(found.chosen, wanted.chosen);
            ASSERT_EQ(found.top.size(), wanted.top.size());
            for (std::size_t i = 0; i < wanted.top.size(); ++i) {
                EXPECT_EQ(found.top[i].token, wanted.top[i].token);
                EXPECT_EQ(found.top[i].logprob, wanted.top[i].logprob);
            }
        }
        const std::vector<float> last = random_logits(random, size);
        expect_the_same(from_candidates.sample(last), from_rows.sample(last));
    }
    EXPECT_GT(candidates_count, 3000);
    EXPECT_GT(adjusted_count, 1500);
    EXPECT_GT(whole_count, 500);
}

TEST(Sampler, asks_for_no_more_of_a_row_than_it_needs) {
    const auto needs = [](auto change, std::optional<int> top_count = {}) {
        SamplingOptions options = plain_options();
        options.top_k = 40;
        change(options);
        return make_sampler(options, 1000).row_needs(top_count);
    };
    const auto unchanged = [](SamplingOptions&) {};
    const auto greedy = [](SamplingOptions& o) { o.temperature = 0.0F; };
    const RowNeeds whole;
    EXPECT_EQ(needs(unchanged), (RowNeeds{.candidate_count = 40, .normalizer = false}));
    EXPECT_EQ(needs(greedy), (RowNeeds{.candidate_count = 1, .normalizer = false}));
    EXPECT_EQ(needs(greedy, 0), (RowNeeds{.candidate_count = 1, .normalizer = true}));
    EXPECT_EQ(needs(greedy, 20), (RowNeeds{.candidate_count = 20, .normalizer = true}));
    EXPECT_EQ(needs([](SamplingOptions& o) { o.top_k = 0; }), whole);
    EXPECT_EQ(needs([](SamplingOptions& o) { o.top_k = 65; }), whole);
    EXPECT_EQ(needs([](SamplingOptions& o) { o.presence_penalty = 0.1F; }, 5),
              (RowNeeds{.candidate_count = 40, .normalizer = true}));  // nothing was said yet
    const Sampler constrained =
        Sampler::create(greedy_options(), 6, std::make_shared<OnlyEven>()).value();
    EXPECT_EQ(constrained.row_needs({}), whole);
}

TEST(Sampler, asks_for_candidates_of_adjusted_logits) {
    SamplingOptions options = greedy_options();
    options.repetition_penalty = 2.0F;
    options.logit_bias = {{3, 1.0F}};
    Sampler sampler = make_sampler(options, 2 * adjustment_count_max);
    sampler.accept(7);
    const std::vector<LogitAdjustment> both = {{.token = 3, .bias = 1.0F},
                                               {.token = 7, .repetition = 2.0F}};
    const RowNeeds whole;
    EXPECT_EQ(sampler.row_needs({}),
              (RowNeeds{.candidate_count = 1, .normalizer = false, .adjustments = both}));
    EXPECT_EQ(sampler.row_needs(0), whole);  // probabilities are those before any adjustment

    for (std::size_t i = 0; i <= adjustment_count_max; ++i)
        options.logit_bias[static_cast<TokenId>(i)] = 1.0F;
    EXPECT_EQ(make_sampler(options, 2 * adjustment_count_max).row_needs({}), whole);
}

std::size_t resident_bytes() {
    std::size_t size_pages = 0;
    std::size_t resident_pages = 0;
    std::ifstream("/proc/self/statm") >> size_pages >> resident_pages;
    return resident_pages * 4096;
}

// Requests that wait have a sampler each.
TEST(Sampler, takes_no_tables_before_the_first_token) {
    SamplingOptions options = plain_options();
    options.repetition_penalty = 1.5F;
    const std::size_t before_bytes = resident_bytes();
    std::vector<Sampler> waiting;
    for (int i = 0; i < 64; ++i) waiting.push_back(make_sampler(options, 1U << 20));
    EXPECT_LT(resident_bytes(), before_bytes + (64UL << 20));
}

TEST(Sampler, log_softmax_top_equals_the_definition) {
    std::mt19937_64 random(3);
    for (const std::size_t size : {1U, 7U, 64U, 5000U, 150'001U}) {
        const std::vector<float> logits = random_logits(random, size);
        Sampler sampler = make_sampler(plain_options(), size);
        double total = 0;
        std::vector<std::pair<double, TokenId>> order;
        for (std::size_t i = 0; i < size; ++i) {
            if (!(logits[i] > -infinity)) continue;
            total += std::exp(static_cast<double>(logits[i]));
            order.emplace_back(-logits[i], static_cast<TokenId>(i));
        }
        std::ranges::sort(order);
        const auto chosen = order[order.size() / 2];
        const auto result = sampler.log_softmax_top({.logits = logits}, chosen.second, 20).value();
        EXPECT_NEAR(result.chosen, -chosen.first - std::log(total), 1e-5);
        ASSERT_EQ(result.top.size(), std::min<std::size_t>(20, order.size()));
        for (std::size_t i = 0; i < result.top.size(); ++i) {
            EXPECT_EQ(result.top[i].token, order[i].second);
            EXPECT_NEAR(result.top[i].logprob, -order[i].first - std::log(total), 1e-5);
        }
    }
    Sampler sampler = make_sampler(plain_options(), 3);
    const std::vector<float> none(3, not_a_number);
    EXPECT_FALSE(sampler.log_softmax_top({.logits = none}, 0, 2).has_value());
    const std::vector<float> one = {not_a_number, 2.0F, -infinity};
    const auto result = sampler.log_softmax_top({.logits = one}, 0, 2).value();
    EXPECT_EQ(result.chosen, -infinity);
    ASSERT_EQ(result.top.size(), 1U);
    EXPECT_NEAR(result.top[0].logprob, 0.0F, 1e-6);
}

}  // namespace
}  // namespace exomesh::engine
