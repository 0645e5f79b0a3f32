#include "engine/chunk_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace exomesh::engine {
namespace {

// Stages that take a + b c, give or take a little.
ChunkChooser taught(double a_us, double b_us, double noise = 0.02) {
    std::mt19937 random(1);
    std::normal_distribution<double> error(1.0, noise);
    ChunkChooser chooser;
    for (int i = 0; i < 60; ++i) {
        const std::uint32_t length = 16U << (random() % 6);
        const double duration_us = (a_us + b_us * length) * error(random);
        chooser.observe(length, static_cast<std::uint64_t>(duration_us));
    }
    return chooser;
}

TEST(ChunkChooser, learns_what_a_step_costs_beside_its_tokens) {
    EXPECT_NEAR(taught(50'000, 1000).overhead_tokens(), 50, 10);
    EXPECT_NEAR(taught(400'000, 1000).overhead_tokens(), 400, 60);
    EXPECT_EQ(taught(0, 1000, 0).overhead_tokens(), 1);
}

TEST(ChunkChooser, forgets_what_was_long_ago) {
    ChunkChooser chooser = taught(400'000, 1000);
    for (int i = 0; i < 200; ++i) {
        const std::uint32_t length = i % 2 == 0 ? 64 : 256;
        chooser.observe(length, 20'000 + 1000 * length);
    }
    EXPECT_NEAR(chooser.overhead_tokens(), 20, 3);
}

// Chunk by chunk and stage by stage: who computes when.
double total_of(std::uint64_t token_count, std::uint32_t length, std::uint32_t stage_count,
                double overhead) {
    std::vector<double> stage_ends(stage_count, 0.0);
    for (std::uint64_t done = 0; done < token_count; done += length) {
        const auto count = static_cast<double>(std::min<std::uint64_t>(length, token_count - done));
        double ready = 0.0;
        for (double& end : stage_ends) {
            end = std::max(end, ready) + overhead + count;
            ready = end;
        }
    }
    return stage_ends.back();
}

TEST(ChunkChooser, takes_a_length_near_the_best_there_is) {
    for (const double overhead : {4.0, 30.0, 200.0}) {
        for (const std::uint64_t token_count : {100U, 500U, 2000U, 8000U}) {
            for (const std::uint32_t stage_count : {2U, 3U, 6U}) {
                ChunkChooser chooser = taught(overhead * 1000, 1000, 0);
                const std::uint32_t chosen = chooser.choose(token_count, stage_count, 512);
                double best = std::numeric_limits<double>::infinity();
                for (std::uint32_t length = 32; length <= 512; ++length) {
                    best = std::min(best, total_of(token_count, length, stage_count, overhead));
                }
                EXPECT_LT(total_of(token_count, chosen, stage_count, overhead), 1.2 * best)
                    << overhead << " " << token_count << " " << stage_count << " " << chosen;
            }
        }
    }
}

TEST(ChunkChooser, keeps_within_its_bounds) {
    std::mt19937 random(2);
    const auto below = [&](std::uint32_t end) {
        return static_cast<std::uint32_t>(random() % end);
    };
    ChunkChooser chooser;
    for (int i = 0; i < 2000; ++i) {
        const std::uint64_t duration_us = below(3) == 0 ? 0 : std::uint64_t{below(1U << 31)} << 20U;
        chooser.observe(below(1U << 31), duration_us);
        const std::uint32_t most = 1 + below(1024);
        const std::uint32_t chosen = chooser.choose(1 + below(100'000), 1 + below(8), most);
        EXPECT_LE(chosen, most);
        EXPECT_GE(chosen, std::min(most, chunk_length_min));
        EXPECT_TRUE(std::isfinite(chooser.overhead_tokens()));
    }
    EXPECT_EQ(chooser.choose(1000, 1, 512), 512U);
    EXPECT_EQ(chooser.choose(1000, 4, 7), 7U);
}

TEST(ChunkChooser, takes_the_same_lengths_however_the_device_is_disturbed) {
    for (const double overhead_us : {12'000.0, 24'000.0, 60'000.0}) {
        for (const double noise : {0.02, 0.1}) {
            const ChunkChooser chooser = taught(overhead_us, 1000, noise);
            EXPECT_EQ(chooser.settled_overhead_tokens(), overhead_tokens_default);
            for (std::uint64_t token_count = 1; token_count <= 4000; token_count += 7) {
                EXPECT_EQ(chooser.choose(token_count, 3, 512),
                          ChunkChooser().choose(token_count, 3, 512));
            }
        }
    }
    EXPECT_EQ(taught(400'000, 1000).settled_overhead_tokens(), 16 * overhead_tokens_default);
}

TEST(ChunkChooser, has_a_guess_before_it_saw_lengths_that_differ) {
    ChunkChooser chooser;
    const double before = chooser.overhead_tokens();
    for (int i = 0; i < 20; ++i) chooser.observe(128, 1000 + static_cast<std::uint64_t>(i));
    EXPECT_EQ(chooser.overhead_tokens(), before);
    EXPECT_LT(chooser.choose(2000, 2, 512), 512U);
}

}  // namespace
}  // namespace exomesh::engine
