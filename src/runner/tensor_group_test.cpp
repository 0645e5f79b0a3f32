// Sums over ranks that are threads here, with real links between them.
#include "runner/tensor_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "runner/compute_watch.h"
#include "runner/messages.h"
#include "runner/testing/group_links.h"

namespace exomesh::runner {
namespace {

using net::testing::patient;
using net::testing::Transport;
using ::testing::HasSubstr;

constexpr auto partial_sums = static_cast<net::FrameType>(MessageType::partial_sums);
constexpr auto states = static_cast<net::FrameType>(MessageType::states);

// Each rank's group over its own links.
class Group {
  public:
    Group(std::size_t rank_count, WireType wire, const LinkFigures& figures = {})
        : links_(rank_count, Transport::local, {.spin_us = 0}) {
        for (std::size_t rank = 0; rank < rank_count; ++rank)
            groups_.push_back(std::make_unique<TensorGroup>(wire, links_.of(rank), figures));
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
    testing::GroupLinks links_;
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

std::vector<std::vector<float>> random_parts(std::size_t rank_count, std::size_t count) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    std::vector<std::vector<float>> parts(rank_count, std::vector<float>(count));
    for (auto& part : parts)
        for (float& value : part) value = normal(random);
    return parts;
}

// Figures by which each method is the best for some number of ranks and values.
constexpr LinkFigures far{.latency_us = 100'000, .bytes_per_ms = 1'000'000};  // one_shot
constexpr LinkFigures narrow{.latency_us = 1, .bytes_per_ms = 1};             // scatter_gather
constexpr LinkFigures near{.latency_us = 1, .bytes_per_ms = 1'000'000};       // recursive_doubling

TEST(TensorGroup, sums_to_the_same_bits_on_every_rank_by_every_method) {
    std::set<AllReduceMethod> methods;
    for (const WireType wire : {WireType::f32, WireType::f16, WireType::q8_0}) {
        for (std::size_t rank_count = 2; rank_count <= 6; ++rank_count) {
            for (const LinkFigures& figures : {far, narrow, near}) {
                Group group(rank_count, wire, figures);
                for (const std::int64_t row_length : {1, 33, 576, 4096}) {
                    for (const std::int64_t row_count : {1, 17}) {
                        const auto count = static_cast<std::size_t>(row_length * row_count);
                        const AllReduceMethod method =
                            choose_all_reduce(rank_count, count, wire, figures);
                        methods.insert(method);
                        auto parts = random_parts(rank_count, count);
                        const std::vector<float> expected = expected_sum(wire, parts);
                        group.reduce(parts, row_length);
                        for (const auto& part : parts) EXPECT_EQ(part, parts[0]);
                        EXPECT_TRUE(method != AllReduceMethod::one_shot || parts[0] == expected);
                        for (std::size_t i = 0; i < count; ++i)
                            EXPECT_NEAR(parts[0][i], expected[i], 0.3F);
                    }
                }
            }
        }
    }
    EXPECT_EQ(methods.size(), 3U) << "the figures do not lead to every method";
}

TEST(TensorGroup, leaves_time_between_sending_and_receiving) {
    Group group(2, WireType::f32);
    std::vector<float> one = {1, 2, 3};
    std::vector<float> other = {10, 20, 30};
    group.rank(0).begin_step(patient());
    group.rank(1).begin_step(patient());
    group.rank(0).start(one.data(), 3, 1);
    group.rank(1).start(other.data(), 3, 1);
    group.rank(1).finish();
    EXPECT_EQ(other, (std::vector<float>{11, 22, 33}));
    EXPECT_EQ(one, (std::vector<float>{1, 2, 3}));
    group.rank(0).finish();
    EXPECT_EQ(one, other);
}

// More than all sockets hold: whoever only sends would wait for ever.
TEST(TensorGroup, sums_what_no_socket_holds) {
    constexpr std::size_t count = std::size_t{3} << 20;
    for (const LinkFigures& figures : {far, narrow}) {
        std::vector<std::vector<float>> parts(3, std::vector<float>(count, 1.5F));
        Group group(3, WireType::f32, figures);
        group.reduce(parts, 4096);
        for (const auto& part : parts) EXPECT_EQ(part, std::vector<float>(count, 4.5F));
    }
}

TEST(TensorGroup, of_one_rank_leaves_its_part_alone) {
    Group group(1, WireType::q8_0);
    std::vector<std::vector<float>> parts = {{0.1F, 0.2F, 0.3F}};
    group.reduce(parts, 3);
    EXPECT_EQ(parts[0], (std::vector<float>{0.1F, 0.2F, 0.3F}));
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
        EXPECT_LE(links_.first.stats().sent_messages, 1U) << "the second sum has begun";
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

// The second round of scatter_gather among three: rank 1 is honest in the first, then does what the
// test wants; rank 2 is honest.
class SecondRoundFault : public ::testing::Test {
  protected:
    static constexpr std::size_t count = 96;  // a block for each rank

    // Rank 0's error.
    Error fails(const std::function<void(net::DataLink&)>& second_round) {
        const testing::GroupLinks links(3, Transport::local, {.spin_us = 0});
        EXPECT_EQ(choose_all_reduce(3, count, WireType::f32, narrow),
                  AllReduceMethod::scatter_gather);
        std::vector<std::thread> threads;
        threads.emplace_back([&] {  // rank 1
            AllReduce core(WireType::f32, 1, 3);
            std::vector<float> values(count, 1.0F);
            core.begin(AllReduceMethod::scatter_gather, values);
            for (const std::size_t peer : {0U, 2U}) {
                EXPECT_TRUE(links.of(1)[peer]
                                ->send(partial_sums, {core.outgoing(peer)}, patient())
                                .has_value());
            }
            EXPECT_TRUE(links.of(1)[0]->receive(patient()).has_value());
            second_round(*links.of(1)[0]);
        });
        Error error;
        for (const std::size_t rank : {0U, 2U}) {
            threads.emplace_back([&, rank] {
                TensorGroup group(WireType::f32, links.of(rank), narrow);
                group.begin_step(net::Deadline::after_ms(300));
                std::vector<float> values(count, 1.0F);
                group.reduce(values.data(), count, 1);
                const auto ended = group.end_step();
                EXPECT_FALSE(ended.has_value());
                if (rank == 0 && !ended) error = ended.error();
            });
        }
        for (std::thread& thread : threads) thread.join();
        EXPECT_THAT(error.message, HasSubstr("rank "));
        return error;
    }
};

TEST_F(SecondRoundFault, a_sum_of_another_size) {
    const Error error = fails([](net::DataLink& link) {
        const std::vector<std::byte> payload(32 * sizeof(float) + 4);
        EXPECT_TRUE(link.send(partial_sums, {payload}, patient()).has_value());
    });
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, HasSubstr("something else than its partial sum"));
}

TEST_F(SecondRoundFault, silence) {
    EXPECT_EQ(fails([](net::DataLink&) {}).code, ErrorCode::unavailable);
}

TEST_F(SecondRoundFault, a_peer_that_goes) {
    EXPECT_EQ(fails([](net::DataLink& link) { link.close(); }).code, ErrorCode::unavailable);
}

// What a rank waits for its peers is no time in which its device computes.
TEST(TensorGroup, is_a_pause_to_who_watches_the_device) {
    const testing::GroupLinks links(2, Transport::local, {.spin_us = 0});
    ComputeWatch watch;
    TensorGroup watched(WireType::f32, links.of(0), {}, &watch);
    TensorGroup other(WireType::f32, links.of(1));
    const auto take_part = [&](TensorGroup& group, bool in_halves) {
        std::vector<float> values(8, 1.0F);
        group.begin_step(patient());
        if (in_halves) {
            group.start(values.data(), 8, 1);
            group.finish();
        } else {
            group.reduce(values.data(), 8, 1);
        }
        EXPECT_TRUE(group.end_step().has_value());
    };
    const StepExtent extent = {.token_count = 1, .position = 1};
    for (std::uint32_t i = 0; i <= ComputeWatch::settling_count; ++i)
        const ComputeScope settles(&watch, extent);
    std::uint64_t look_ns = platform::monotonic_ns();
    const auto seems_to_compute = [&] {  // for longer than it may
        bool is_overdue = false;
        for (int i = 0; i < 10; ++i)
            is_overdue |= watch.overdue_ns(look_ns += ComputeWatch::look_ns_max, 0).has_value();
        return is_overdue;
    };
    for (const bool in_halves : {false, true}) {
        const ComputeScope step(&watch, extent);
        std::thread peer([&] {
            while (!links.of(1)[0]->has_incoming()) std::this_thread::yield();
            const auto deadline = patient();  // between its halves a rank computes
            while (seems_to_compute() && !deadline.passed()) std::this_thread::yield();
            EXPECT_FALSE(deadline.passed());
            take_part(other, in_halves);
        });
        take_part(watched, in_halves);
        peer.join();
        EXPECT_TRUE(watch.pause(platform::monotonic_ns())) << "it computes again";
        watch.resume(platform::monotonic_ns());
    }
}

}  // namespace
}  // namespace exomesh::runner
