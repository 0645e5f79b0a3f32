// Ranks as values: every round's bytes are handed over by the test.
#include "runner/all_reduce.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "runner/wire_codec.h"

namespace exomesh::runner {
namespace {

using Parts = std::vector<std::vector<float>>;
using Bytes = std::vector<std::byte>;

constexpr std::size_t rank_count_most = 16;
constexpr std::size_t lengths[] = {1, 31, 32, 33, 576, 1000, 2048};
constexpr WireType wires[] = {WireType::f32, WireType::f16, WireType::q8_0};
constexpr AllReduceMethod methods[] = {AllReduceMethod::one_shot, AllReduceMethod::scatter_gather,
                                       AllReduceMethod::recursive_doubling};

std::string describe(AllReduceMethod method, WireType wire, std::size_t ranks, std::size_t length) {
    return "method " + std::to_string(static_cast<int>(method)) + ", " +
           std::string(wire_type_name(wire)) + ", " + std::to_string(ranks) + " ranks, " +
           std::to_string(length) + " values";
}

Parts random_parts(std::size_t rank_count, std::size_t length) {
    std::mt19937 random(static_cast<std::uint32_t>(1000 * rank_count + length));
    std::normal_distribution<float> normal;
    Parts parts(rank_count, std::vector<float>(length));
    for (auto& part : parts)
        for (float& value : part) value = normal(random);
    return parts;
}

struct Traffic {
    std::size_t round_count = 0;
    std::size_t sent_bytes_max = 0;  // of the rank that sends most
};

// All ranks at once; what arrives is a copy, as it is from a link. `parts` become the sums.
Traffic reduce(AllReduceMethod method, WireType wire, Parts& parts) {
    const std::size_t count = parts.size();
    std::vector<AllReduce> ranks;
    for (std::size_t rank = 0; rank < count; ++rank) {
        ranks.emplace_back(wire, rank, count);
        ranks[rank].begin(method, parts[rank]);
    }
    Traffic traffic;
    std::vector<std::size_t> sent_bytes(count);
    while (!ranks[0].is_done()) {
        ++traffic.round_count;
        std::vector<std::vector<Bytes>> arrived(count, std::vector<Bytes>(count));
        for (std::size_t from = 0; from < count; ++from) {
            for (std::size_t to = 0; to < count; ++to) {
                const auto bytes = ranks[from].outgoing(to);
                EXPECT_EQ(bytes.size(), ranks[to].incoming_bytes(from));
                arrived[to][from].assign(bytes.begin(), bytes.end());
                sent_bytes[from] += bytes.size();
            }
        }
        for (std::size_t rank = 0; rank < count; ++rank) {
            EXPECT_FALSE(ranks[rank].is_done());
            const std::vector<std::span<const std::byte>> received(arrived[rank].begin(),
                                                                   arrived[rank].end());
            ranks[rank].finish_round(received);
        }
    }
    for (const AllReduce& rank : ranks) EXPECT_TRUE(rank.is_done());
    traffic.sent_bytes_max = std::ranges::max(sent_bytes);
    return traffic;
}

template <typename Check>
void for_every_case(Check check) {
    for (const AllReduceMethod method : methods) {
        for (const WireType wire : wires) {
            for (std::size_t ranks = 1; ranks <= rank_count_most; ++ranks) {
                if (!can_reduce(method, ranks)) continue;
                for (const std::size_t length : lengths) {
                    SCOPED_TRACE(describe(method, wire, ranks, length));
                    check(method, wire, ranks, length);
                }
            }
        }
    }
}

TEST(AllReduce, gives_every_rank_the_same_bits) {
    for_every_case(
        [](AllReduceMethod method, WireType wire, std::size_t ranks, std::size_t length) {
            Parts parts = random_parts(ranks, length);
            reduce(method, wire, parts);
            for (const auto& sum : parts)
                EXPECT_EQ(std::memcmp(sum.data(), parts[0].data(), length * sizeof(float)), 0);
        });
}

// How far a value of magnitude 1 may move when it is encoded once.
double rounding(WireType wire) {
    switch (wire) {
        case WireType::f32:
            return 0x1p-24;
        case WireType::f16:
            return 0x1p-11;
        case WireType::q8_0:
            return 1.0 / 254 + 0x1p-11;  // the value's, and the scale's
    }
    return 0;
}

TEST(AllReduce, is_within_the_rounding_of_its_encodings) {
    for_every_case(
        [](AllReduceMethod method, WireType wire, std::size_t ranks, std::size_t length) {
            const Parts original = random_parts(ranks, length);
            Parts parts = original;
            const std::size_t rounds = reduce(method, wire, parts).round_count;
            double magnitude = 0;  // no sum of some of the parts exceeds it
            for (const auto& part : original) {
                magnitude += std::abs(*std::ranges::max_element(
                    part, {}, [](float value) { return std::abs(value); }));
            }
            const auto encodings = static_cast<double>(std::max<std::size_t>(rounds, 1));
            const double allowed =
                magnitude * (encodings * rounding(wire) + static_cast<double>(ranks) * 0x1p-24);
            for (std::size_t i = 0; i < length; ++i) {
                double exact = 0;
                for (const auto& part : original) exact += part[i];
                EXPECT_NEAR(parts[0][i], exact, allowed);
            }
        });
}

// What decides is the order: floats do not add up to the same in another one.
TEST(AllReduce, adds_in_the_order_of_ranks) {
    for (const AllReduceMethod method :
         {AllReduceMethod::one_shot, AllReduceMethod::scatter_gather}) {
        for (std::size_t ranks = 2; ranks <= rank_count_most; ++ranks) {
            Parts parts = random_parts(ranks, 1000);
            std::vector<float> expected = parts[0];
            for (std::size_t rank = 1; rank < ranks; ++rank)
                std::ranges::transform(expected, parts[rank], expected.begin(), std::plus());
            reduce(method, WireType::f32, parts);
            EXPECT_EQ(parts[0], expected);
        }
    }
}

TEST(AllReduce, rounds_this_ranks_own_part_too) {
    for (const AllReduceMethod method : methods) {
        Parts parts(2, std::vector<float>(32, 0.0F));
        parts[1][0] = 1.0F;
        parts[1][1] = 0.3F;  // 38.1 / 127
        reduce(method, WireType::q8_0, parts);
        for (const auto& sum : parts) EXPECT_NEAR(sum[1], 38.0F / 127, 1e-4F);
    }
}

TEST(AllReduce, sends_as_often_and_as_much_as_it_says) {
    for (std::size_t ranks = 2; ranks <= rank_count_most; ++ranks) {
        for (const WireType wire : wires) {
            const std::size_t length = ranks * 64;
            const std::size_t whole_bytes = encoded_size_bytes(wire, length);
            Parts parts = random_parts(ranks, length);
            const Traffic one_shot = reduce(AllReduceMethod::one_shot, wire, parts);
            EXPECT_EQ(one_shot.round_count, 1U);
            EXPECT_EQ(one_shot.sent_bytes_max, (ranks - 1) * whole_bytes);
            const Traffic scattered = reduce(AllReduceMethod::scatter_gather, wire, parts);
            EXPECT_EQ(scattered.round_count, 2U);
            EXPECT_EQ(scattered.sent_bytes_max, 2 * (ranks - 1) * whole_bytes / ranks);
            if (!can_reduce(AllReduceMethod::recursive_doubling, ranks)) continue;
            const Traffic doubled = reduce(AllReduceMethod::recursive_doubling, wire, parts);
            const auto rounds = static_cast<std::size_t>(std::countr_zero(ranks));
            EXPECT_EQ(doubled.round_count, rounds);
            EXPECT_EQ(doubled.sent_bytes_max, rounds * whole_bytes);
        }
    }
}

TEST(AllReduce, of_one_rank_leaves_its_part_alone) {
    for (const AllReduceMethod method : methods) {
        Parts parts = {{0.1F, 0.2F}};
        EXPECT_EQ(reduce(method, WireType::q8_0, parts).round_count, 0U);
        EXPECT_EQ(parts[0], (std::vector<float>{0.1F, 0.2F}));
    }
}

TEST(OwnedValues, are_whole_blocks_and_all_values) {
    for (std::size_t ranks = 1; ranks <= rank_count_most; ++ranks) {
        for (std::size_t count = 0; count < 1100; count += 11) {
            std::size_t next = 0;
            std::size_t fewest = count;
            std::size_t most = 0;
            for (std::size_t rank = 0; rank < ranks; ++rank) {
                const ValueRange owned = owned_values(count, ranks, rank);
                EXPECT_EQ(owned.first, next);
                EXPECT_TRUE(owned.count == 0 || owned.first % wire_block_values == 0);
                next += owned.count;
                fewest = std::min(fewest, owned.count);
                most = std::max(most, owned.count);
            }
            EXPECT_EQ(next, count);
            EXPECT_LE(most, fewest + 2 * wire_block_values - 1);
        }
    }
}

}  // namespace
}  // namespace exomesh::runner
