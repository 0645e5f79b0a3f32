#include "runner/link_survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "engine/open_shard.h"
#include "net/identity.h"
#include "runner/cluster.h"
#include "runner/testing/logits_play.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using testing::TemporaryModel;

// Opens a cluster that measures its links, and computes with it afterwards.
LinkReport survey(const std::string& split, std::uint32_t rank_count) {
    const TemporaryModel model(tiny_architecture("llama"), {});
    const auto head = net::Identity::generate();
    ThreadRunnerHost host;
    EXPECT_TRUE(host.start(rank_count - 1, head->peer_id()).has_value());
    LinkReport report;
    ClusterOptions cluster{.identity = *head,
                           .workers = host.addresses(),
                           .split = *parse_split(split),
                           .shares = {},
                           .devices = {},
                           .spin_us = 0};
    cluster.on_links = [&](const LinkReport& measured) { report = measured; };
    const auto opened = open_cluster(model.file(), testing::play_options(model), cluster);
    EXPECT_TRUE(opened.has_value()) << opened.error().text();
    const bool has_played = opened && testing::play(*opened->shard).has_value();
    EXPECT_TRUE(has_played);
    return report;
}

std::vector<std::string> names(const LinkReport& report) {
    std::vector<std::string> out;
    for (const PairMeasurement& pair : report.pairs) {
        out.push_back(std::to_string(pair.from) + "-" + std::to_string(pair.to));
        EXPECT_TRUE(pair.is_loopback);
        EXPECT_GE(pair.link.round_trip_count, 1U);
        EXPECT_GE(pair.link.round_trip_p99_us, pair.link.round_trip_p50_us);
        EXPECT_GT(pair.link.bytes_per_s, 0);
    }
    return out;
}

TEST(LinkSurvey, measures_every_pair_and_the_sums_of_a_tensor_group) {
    const LinkReport report = survey("tensor", 3);
    EXPECT_THAT(names(report), ::testing::ElementsAre("0-1", "0-2", "1-2"));
    ASSERT_TRUE(report.sums.has_value());
    EXPECT_EQ(report.sums->rank_count, 3U);
    EXPECT_EQ(report.sums->value_count, tiny_architecture("llama").embedding_length);
    EXPECT_GT(report.sums->p50_us, 0U);
    EXPECT_EQ(report.sums->count_per_token, 2 * tiny_architecture("llama").layer_count);
}

TEST(LinkSurvey, measures_a_pipeline_without_sums) {
    const LinkReport report = survey("pipeline", 2);
    EXPECT_THAT(names(report), ::testing::ElementsAre("0-1"));
    EXPECT_FALSE(report.sums.has_value());
}

TEST(LinkSurvey, leaves_out_pairs_that_do_not_talk) {
    const LinkReport report = survey("2x2", 4);
    EXPECT_THAT(names(report), ::testing::ElementsAre("0-1", "0-2", "0-3", "2-3"));
    EXPECT_EQ(report.sums->rank_count, 2U);
}

TEST(LinkSurvey, reads_what_it_wrote_and_nothing_else) {
    for (const MeasureKind kind : {MeasureKind::measure, MeasureKind::answer, MeasureKind::sum}) {
        const MeasureOrder order{.kind = kind, .argument = 9};
        EXPECT_EQ(*decode_measure_order(encode_measure_order(order)), order);
    }
    const MeasureOrder endless{.kind = MeasureKind::sum, .argument = survey_sum_count_max + 1};
    EXPECT_FALSE(decode_measure_order(encode_measure_order(endless)).has_value());
    const MeasureOrder unknown{.kind = static_cast<MeasureKind>(3)};
    EXPECT_FALSE(decode_measure_order(encode_measure_order(unknown)).has_value());
    EXPECT_FALSE(decode_measure_order(std::vector<std::byte>(7)).has_value());

    LinkMeasurement measured{.round_trip_count = 5,
                             .round_trip_p50_us = 20,
                             .round_trip_p99_us = 30,
                             .bytes_per_s = 1e9};
    EXPECT_EQ(*decode_measurement(encode_measurement(measured)), measured);
    measured.bytes_per_s = std::numeric_limits<double>::infinity();
    EXPECT_FALSE(decode_measurement(encode_measurement(measured)).has_value());
    EXPECT_FALSE(decode_measurement({}).has_value());
}

}  // namespace
}  // namespace exomesh::runner
