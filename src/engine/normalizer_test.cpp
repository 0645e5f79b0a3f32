#include "engine/normalizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <vector>

namespace exomesh::engine {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// Of very different sizes: a flat row, a steep one, one far from zero.
std::vector<float> random_logits(std::mt19937_64& random, std::size_t count) {
    const float scale = std::ldexp(1.0F, static_cast<int>(random() % 10) - 3);
    const float middle = static_cast<float>(random() % 400) - 200.0F;
    std::normal_distribution<float> bell(middle, scale);
    std::vector<float> logits(count);
    for (float& logit : logits) {
        logit = bell(random);
        if (random() % 16 == 0) logit = -infinity;
        if (random() % 32 == 0) logit = not_a_number;
    }
    return logits;
}

double definition(const std::vector<float>& logits) {
    double maximum = -infinity;
    for (const float logit : logits) {
        if (logit > maximum) maximum = logit;
    }
    double sum = 0;
    for (const float logit : logits) {
        if (logit > -infinity) sum += std::exp(logit - maximum);
    }
    return maximum + std::log(sum);
}

TEST(Normalizer, equals_the_definition) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 500; ++round) {
        std::vector<float> logits = random_logits(random, 1 + random() % 3000);
        logits[random() % logits.size()] = 1.0F;
        EXPECT_NEAR(Normalizer(logits).log_sum_exp(), definition(logits), 1e-6) << round;
    }
}

TEST(Normalizer, is_the_same_to_the_last_bit_however_the_logits_are_cut) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 500; ++round) {
        const std::vector<float> logits = random_logits(random, 1 + random() % 3000);
        const std::size_t block_count = logits.size() / normalizer_block_length;
        std::vector<std::size_t> cuts = {0, logits.size()};
        for (std::size_t i = 0; i < random() % 5; ++i) {
            cuts.push_back(random() % (block_count + 1) * normalizer_block_length);
        }
        std::ranges::sort(cuts);
        std::vector<Normalizer> parts;
        for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
            parts.emplace_back(std::span(logits).subspan(cuts[i], cuts[i + 1] - cuts[i]));
        }
        std::ranges::shuffle(parts, random);
        Normalizer sum;
        for (const Normalizer& part : parts) sum.add(part);
        EXPECT_EQ(sum, Normalizer(logits)) << round;
    }
}

TEST(Normalizer, of_nothing_is_minus_infinity) {
    EXPECT_EQ(Normalizer().exponent, Normalizer::exponent_none);
    const Normalizer none(std::vector<float>{not_a_number, -infinity, not_a_number});
    EXPECT_EQ(none, Normalizer());
    EXPECT_EQ(none.log_sum_exp(), -infinity);
    EXPECT_EQ(none.log_probability(-infinity), -infinity);
}

TEST(Normalizer, bounds_what_no_model_computes) {
    const Normalizer infinite(std::vector<float>{infinity, 3.0F, infinity, -infinity});
    EXPECT_EQ(infinite.log_probability(3.0F), 3.0F - normalizer_logit_max - std::log(2.0F));
    EXPECT_NEAR(infinite.log_probability(infinity), -std::log(2.0F), 1e-6);
    const Normalizer low(std::vector<float>{-1e30F, -1e35F});
    EXPECT_NEAR(low.log_probability(-1e35F), -std::log(2.0F), 1e-6);
    EXPECT_LE(infinite.exponent, Normalizer::exponent_max);
    EXPECT_GE(low.exponent, -Normalizer::exponent_max);
    const Normalizer many(std::vector<float>(1U << 20, infinity));
    EXPECT_LT(many.sums[0], Normalizer::sum_max);
}

TEST(Normalizer, gives_no_probability_above_one) {
    for (float logit = -100.0F; logit < 100.0F; logit += 0.37F) {
        const float found = Normalizer(std::vector<float>{logit}).log_probability(logit);
        EXPECT_LE(found, 0.0F);
        EXPECT_NEAR(found, 0.0F, 1e-6);
    }
}

}  // namespace
}  // namespace exomesh::engine
