// Sums over ranks that are threads here, with real links between them.
#include "runner/tensor_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using net::testing::Transport;
using ::testing::HasSubstr;

constexpr auto partial_sums = static_cast<net::FrameType>(MessageType::partial_sums);
constexpr auto states = static_cast<net::FrameType>(MessageType::states);

// A link between every two ranks, and each rank's group over its own.
class Group {
  public:
    Group(std::size_t rank_count, WireType wire) {
        std::vector<std::vector<net::DataLink*>> members(
            rank_count, std::vector<net::DataLink*>(rank_count, nullptr));
        for (std::size_t high = 1; high < rank_count; ++high) {
            for (std::size_t low = 0; low < high; ++low) {
                auto [one, other] = net::testing::make_pair(Transport::local, {.spin_us = 0});
                members[low][high] = &links_.emplace_back(std::move(one));
                members[high][low] = &links_.emplace_back(std::move(other));
            }
        }
        for (auto& links : members) {
            groups_.push_back(std::make_unique<TensorGroup>(wire, std::move(links)));
        }
    }

    [[nodiscard]] TensorGroup& rank(std::size_t index) { return *groups_[index]; }

    // One step with one sum; `parts` become the sums.
    void reduce(std::vector<std::vector<float>>& parts, std::int64_t row_length) {
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < groups_.size(); ++i) {
            threads.emplace_back([this, &part = parts[i], i, row_length] {
                groups_[i]->begin_step(patient());
                groups_[i]->reduce(part.data(), row_length,
                                   static_cast<std::int64_t>(part.size()) / row_length);
                const auto ended = groups_[i]->end_step();
                EXPECT_TRUE(ended.has_value()) << ended.error().text();
            });
        }
        for (std::thread& thread : threads) thread.join();
    }

  private:
    std::deque<net::DataLink> links_;  // stay where they are
    std::vector<std::unique_ptr<TensorGroup>> groups_;
};

// What a rank makes of all parts, in the order of ranks.
std::vector<float> expected_sum(WireType wire, const std::vector<std::vector<float>>& parts) {
    std::vector<float> sum(parts[0].size());
    std::vector<std::byte> encoded(encoded_size_bytes(wire, sum.size()));
    for (std::size_t i = 0; i < parts.size(); ++i) {
        encode(wire, parts[i], encoded);
        if (i == 0) {
            decode(wire, encoded, sum);
        } else {
            decode_add(wire, encoded, sum);
        }
    }
    return sum;
}

TEST(TensorGroup, sums_to_the_same_bits_on_every_rank) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (const WireType wire : {WireType::f32, WireType::f16, WireType::q8_0}) {
        for (const std::size_t rank_count : {2U, 3U, 4U}) {
            Group group(rank_count, wire);
            std::uint64_t sum_count = 0;
            for (const std::int64_t row_length : {1, 31, 32, 33, 576, 4096}) {
                for (const std::int64_t row_count : {1, 3, 65}) {
                    std::vector<std::vector<float>> parts(rank_count);
                    for (auto& part : parts) {
                        part.resize(static_cast<std::size_t>(row_length * row_count));
                        for (float& value : part) value = normal(random);
                    }
                    const std::vector<float> expected = expected_sum(wire, parts);
                    group.reduce(parts, row_length);
                    for (const auto& part : parts) EXPECT_EQ(part, expected);
                    ++sum_count;
                }
            }
            const ReduceStatistics& statistics = group.rank(0).statistics();
            EXPECT_EQ(statistics.reduce_count, sum_count);
            EXPECT_GT(statistics.sent_bytes, 0U);
        }
    }
}

// More than all sockets hold: whoever only sends would wait for ever.
TEST(TensorGroup, sums_what_no_socket_holds) {
    constexpr std::size_t count = std::size_t{3} << 20;
    std::vector<std::vector<float>> parts(3, std::vector<float>(count, 1.5F));
    Group group(3, WireType::f32);
    group.reduce(parts, 4096);
    for (const auto& part : parts) EXPECT_EQ(part, std::vector<float>(count, 4.5F));
}

TEST(TensorGroup, of_one_rank_leaves_its_part_alone) {
    Group group(1, WireType::q8_0);
    std::vector<std::vector<float>> parts = {{0.1F, 0.2F, 0.3F}};
    group.reduce(parts, 3);
    EXPECT_EQ(parts[0], (std::vector<float>{0.1F, 0.2F, 0.3F}));
    EXPECT_EQ(group.rank(0).statistics().reduce_count, 0U);
}

// This rank against a peer that does what the test wants.
class TensorGroupFault : public ::testing::Test {
  protected:
    TensorGroupFault() : links_(net::testing::make_pair(Transport::local)) {}

    // The error of a step with two sums of 64 ones, which must be left as they are.
    Error fails(std::uint64_t step_ms = 10'000) {
        const std::uint64_t begin_us = platform::monotonic_us();
        TensorGroup group(WireType::f32, {nullptr, &links_.first});
        group.begin_step(net::Deadline::after_ms(step_ms));
        std::vector<float> values(64, 1.0F);
        for (int i = 0; i < 2; ++i) group.reduce(values.data(), 64, 1);
        EXPECT_EQ(values, std::vector<float>(64, 1.0F));
        EXPECT_EQ(group.statistics().reduce_count, 1U);
        EXPECT_LT(platform::monotonic_us() - begin_us, 5'000'000U);
        const auto ended = group.end_step();
        EXPECT_FALSE(ended.has_value());
        if (ended) return {};
        EXPECT_THAT(ended.error().message, HasSubstr("rank 1 ("));
        group.begin_step(patient());
        EXPECT_TRUE(group.end_step().has_value()) << "an error belongs to its step alone";
        return ended.error();
    }
    void peer_sends(net::FrameType type, std::size_t size_bytes) {
        const std::vector<std::byte> payload(size_bytes);
        ASSERT_TRUE(links_.second.send(type, {payload}, patient()).has_value());
    }

    std::pair<net::DataLink, net::DataLink> links_;
};

TEST_F(TensorGroupFault, another_type_of_message) {
    peer_sends(states, 256);
    const Error error = fails();
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, HasSubstr("something else than its partial sum"));
}

TEST_F(TensorGroupFault, too_few_values) {
    peer_sends(partial_sums, 252);
    EXPECT_EQ(fails().code, ErrorCode::corrupt_data);
}

TEST_F(TensorGroupFault, too_many_values) {
    peer_sends(partial_sums, 260);
    EXPECT_EQ(fails().code, ErrorCode::corrupt_data);
}

TEST_F(TensorGroupFault, a_peer_that_is_silent) {
    EXPECT_EQ(fails(50).code, ErrorCode::unavailable);
}

TEST_F(TensorGroupFault, a_peer_that_is_gone) {
    links_.second.close();
    EXPECT_EQ(fails().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace exomesh::runner
