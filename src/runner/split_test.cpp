#include "runner/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/partition.h"
#include "runner/messages.h"
#include "runner/plan_check.h"
#include "runner/testing/logits_play.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using ::testing::HasSubstr;
using testing::TemporaryModel;

TEST(ParseSplit, takes_the_three_kinds) {
    EXPECT_EQ(parse_split("tensor")->kind, SplitKind::tensor);
    EXPECT_EQ(parse_split("pipeline")->kind, SplitKind::pipeline);
    const auto hybrid = parse_split("3x2");
    ASSERT_TRUE(hybrid.has_value());
    EXPECT_EQ(hybrid->kind, SplitKind::hybrid);
    EXPECT_EQ(hybrid->stage_count, 3U);
    EXPECT_EQ(hybrid->ranks_per_stage, 2U);
}

TEST(ParseSplit, takes_layers_and_devices) {
    const auto split = parse_split("0-11:cpu*0.7+vulkan0*0.3  12-28:cuda1 29");
    ASSERT_TRUE(split.has_value()) << split.error().text();
    EXPECT_EQ(split->kind, SplitKind::layers);
    ASSERT_EQ(split->stages.size(), 3U);
    EXPECT_EQ(split->stages[0].layers, (engine::Range{.first = 0, .count = 12}));
    EXPECT_EQ(split->stages[0].shares, (std::vector<double>{0.7, 0.3}));
    EXPECT_EQ(split->stages[1].layers, (engine::Range{.first = 12, .count = 17}));
    EXPECT_EQ(split->stages[2].layers, (engine::Range{.first = 29, .count = 1}));
    EXPECT_EQ(devices_of(*split), (std::vector<std::string>{"cpu", "vulkan0", "cuda1", ""}));
    EXPECT_EQ(parse_split("0-1:cpu+auto")->stages[0].shares, (std::vector<double>{1, 1}));
}

TEST(ParseSplit, knows_how_many_ranks_it_asks_for) {
    EXPECT_EQ(rank_count_of(*parse_split("tensor")), std::nullopt);
    EXPECT_EQ(rank_count_of(*parse_split("pipeline")), std::nullopt);
    EXPECT_EQ(rank_count_of(*parse_split("3x2")), 6U);
    EXPECT_EQ(rank_count_of(*parse_split("0-3:cpu+cpu 4-5:cpu")), 3U);
    EXPECT_EQ(rank_count_of(*parse_split("4000000000x4000000000")), UINT32_MAX);
}

TEST(ParseSplit, refuses_a_text_without_end) {
    EXPECT_FALSE(parse_split(std::string(split_text_bytes_max + 1, ' ')).has_value());
}

TEST(ParseSplit, refuses_everything_else) {
    for (const char* text : {"",
                             "x",
                             "2x",
                             "x2",
                             "0x2",
                             "2x0",
                             "-1x2",
                             "2x2x2",
                             " 2x2",
                             "2x2 ",
                             "2X2",
                             "Tensor",
                             "tensor ",
                             "99999999999x2",
                             "0-",
                             "-1",
                             "1-0",
                             "0-1:",
                             "0-1:cpu+",
                             "0-1:cpu*",
                             "0-1:cpu*x",
                             "0-1:cpu*-1",
                             "0-1:cpu*nan",
                             "0-1:cpu*inf",
                             "0-1:cpu*0.5+cpu",
                             "0-1:CPU",
                             "0-1,2-3",
                             "0-1:cpu:cpu",
                             "0-1:cpu\t2-3:cpu",
                             "0-1:cpu tensor",
                             "0-99999:cpu",
                             " "}) {
        SCOPED_TRACE(text);
        const auto split = parse_split(text);
        ASSERT_FALSE(split.has_value());
        EXPECT_EQ(split.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(split.error().hint, HasSubstr("2x2"));
    }
}

class Plan : public ::testing::Test {
  protected:
    [[nodiscard]] std::string refusal(const std::string& split, std::uint32_t rank_count,
                                      const std::vector<double>& shares = {}) const {
        const auto planned = plan_ranks(model_.file(), *parse_split(split), rank_count, shares);
        if (planned) return "accepted";
        EXPECT_EQ(planned.error().code, ErrorCode::invalid_argument);
        return planned.error().message;
    }

    // As a head sends it to rank 1.
    [[nodiscard]] LoadRequest request(const std::string& split, std::uint32_t rank_count) const {
        LoadRequest out;
        out.rank = 1;
        const auto planned = plan_ranks(model_.file(), *parse_split(split), rank_count, {});
        for (const PlannedRank& rank : *planned) {
            out.ranks.push_back({.stage = rank.stage, .slice = rank.slice});
        }
        return out;
    }

    TemporaryModel model_ = TemporaryModel(tiny_architecture("llama"), {});  // 2 layers
};

TEST_F(Plan, names_what_cannot_be) {
    EXPECT_THAT(refusal("tensor", 0), HasSubstr("between 1 and 64 ranks"));
    EXPECT_THAT(refusal("tensor", 65), HasSubstr("between 1 and 64 ranks"));
    EXPECT_THAT(refusal("tensor", 2, {1.0}), HasSubstr("1 shares were given for 2 ranks"));
    EXPECT_THAT(refusal("tensor", 2, {2.0, -1.0}), HasSubstr("at least 0"));
    EXPECT_THAT(refusal("tensor", 2, {0.0, 0.0}), HasSubstr("all shares are 0"));
    EXPECT_THAT(refusal("tensor", 2, {1.0, std::numeric_limits<double>::quiet_NaN()}),
                HasSubstr("must be numbers"));
    EXPECT_THAT(refusal("pipeline", 3), HasSubstr("the model has 2 layers"));
    EXPECT_THAT(refusal("pipeline", 2, {1.0, 0.0}), HasSubstr("a share and a layer for each"));
    EXPECT_THAT(refusal("2x2", 3), HasSubstr("2x2 makes 4 ranks, not 3"));
    EXPECT_THAT(refusal("2x1", 4), HasSubstr("2x1 makes 2 ranks, not 4"));
    EXPECT_THAT(refusal("3x1", 3), HasSubstr("the model has 2 layers"));
    EXPECT_THAT(refusal("2x2", 4, {1.0, 1.0, 0.0, 0.0}), HasSubstr("a share and a layer"));
    EXPECT_EQ(refusal("2x2", 4, {1.0, 0.0, 0.0, 1.0}), "accepted");
}

TEST_F(Plan, says_which_layers_are_missing_or_double) {
    const std::string there_are = "; the model has 2 layers, 0 to 1.";
    EXPECT_EQ(refusal("1:cpu", 1), "the split leaves out layer 0" + there_are);
    EXPECT_EQ(refusal("0:cpu", 1), "the split leaves out layer 1" + there_are);
    EXPECT_EQ(refusal("0-1:cpu 1:cpu", 2),
              "the split has layer 1 twice, or out of order" + there_are);
    EXPECT_EQ(refusal("0:cpu 0-1:cpu", 2),
              "the split has layer 0 twice, or out of order" + there_are);
    EXPECT_EQ(refusal("1:cpu 0:cpu", 2), "the split leaves out layer 0" + there_are);
    EXPECT_EQ(refusal("0-1:cpu 5:cpu", 2), "the split leaves out layers 2 to 4" + there_are);
    EXPECT_EQ(refusal("0-4:cpu", 1),
              "the split has layers 2 to 4 that the model lacks" + there_are);
    EXPECT_THAT(refusal("0:cpu 1:cpu", 3), HasSubstr("the split makes 2 ranks, not 3"));
    EXPECT_THAT(refusal("0:cpu 1:cpu", 2, {0.5, 0.5}), HasSubstr("says itself what each rank"));
    EXPECT_THAT(refusal("0-1:cpu*0+cpu*0", 2), HasSubstr("all shares are 0"));
}

TEST_F(Plan, follows_the_layers_and_shares_as_written) {
    const auto planned = plan_ranks(model_.file(), *parse_split("0:cpu*3+cpu*1 1:cpu"), 3, {});
    ASSERT_TRUE(planned.has_value()) << planned.error().text();
    ASSERT_EQ(planned->size(), 3U);
    const std::vector<int> stages = {0, 0, 1};
    for (std::size_t rank = 0; rank < 3; ++rank) {
        const PlannedRank& actual = (*planned)[rank];
        EXPECT_EQ(actual.stage, stages[rank]);
        EXPECT_EQ(actual.slice.layers.first, stages[rank]);
        EXPECT_EQ(actual.slice.layers.count, 1U);
    }
    EXPECT_EQ((*planned)[0].slice.feed_forward.count, 3 * (*planned)[1].slice.feed_forward.count);
}

TEST_F(Plan, gives_away_the_whole_model_once) {
    for (const std::uint32_t rank_count : {1U, 2U, 3U, 5U, 8U}) {
        const auto planned = plan_ranks(model_.file(), Split{}, rank_count, {});
        ASSERT_TRUE(planned.has_value());
        engine::Range heads, columns, rows;
        for (const PlannedRank& rank : *planned) {
            EXPECT_EQ(rank.stage, 0);
            EXPECT_EQ(rank.slice.query_heads.first, heads.end());
            EXPECT_EQ(rank.slice.feed_forward.first, columns.end());
            EXPECT_EQ(rank.slice.vocabulary.first, rows.end());
            heads = rank.slice.query_heads;
            columns = rank.slice.feed_forward;
            rows = rank.slice.vocabulary;
        }
        const auto& architecture = model_.file().architecture;
        EXPECT_EQ(heads.end(), architecture.head_count);
        EXPECT_EQ(columns.end(), architecture.feed_forward_length);
        EXPECT_EQ(rows.end(), architecture.vocabulary_size);
    }
}

TEST_F(Plan, of_a_head_passes_the_check_of_its_workers) {
    for (const auto& [split, rank_count] :
         std::vector<std::pair<std::string, std::uint32_t>>{{"tensor", 2},
                                                            {"tensor", 4},
                                                            {"tensor", 64},
                                                            {"pipeline", 2},
                                                            {"2x2", 4},
                                                            {"0:cpu*0.2+cpu*0.8 1:cpu+cpu", 4}}) {
        SCOPED_TRACE(split);
        const auto checked = check_plan(model_.file(), request(split, rank_count));
        EXPECT_TRUE(checked.has_value()) << checked.error().text();
    }
}

TEST_F(Plan, may_have_a_head_that_computes_nothing) {
    LoadRequest idle = request("2x2", 4);
    RankPlan head;
    head.stage = stage_none;
    idle.ranks.insert(idle.ranks.begin(), head);
    const auto checked = check_plan(model_.file(), idle);
    EXPECT_TRUE(checked.has_value()) << checked.error().text();
    idle.ranks[1].stage = stage_none;  // only a head may
    const auto refused = check_plan(model_.file(), idle);
    ASSERT_FALSE(refused.has_value());
    EXPECT_THAT(refused.error().message, HasSubstr("rank 1 has a stage out of order"));
}

TEST_F(Plan, that_is_out_of_order_is_refused_by_workers) {
    const auto refusal_of = [&](const std::string& split, auto change) {
        LoadRequest changed = request(split, 4);
        change(changed);
        const auto checked = check_plan(model_.file(), changed);
        return checked ? "accepted" : checked.error().message;
    };
    const auto slice_refusal = [&](auto change) {
        return refusal_of("tensor", [&](LoadRequest& r) { change(r.ranks[1].slice); });
    };
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.rank = 0; }), HasSubstr("head itself"));
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.ranks[0].stage = 1; }),
                HasSubstr("rank 0 has a stage out of order"));
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.ranks[3].stage = 3; }),
                HasSubstr("rank 3 has a stage out of order"));
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.ranks[3].stage = 0; }),
                HasSubstr("rank 3 has a stage out of order"));
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.ranks[3].slice.layers.count = 2; }),
                HasSubstr("rank 3 has layers out of order"));
    EXPECT_THAT(refusal_of("2x2", [](LoadRequest& r) { r.ranks.resize(2); }),
                HasSubstr("does not have the last layers"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.query_heads = {3, 2}; }), HasSubstr("heads"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.query_heads = {1, 2}; }), HasSubstr("heads"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.query_heads = {0, 2}; }), HasSubstr("belong"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.key_value_heads = {7, 1}; }), HasSubstr("belong"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.feed_forward = {500, 64}; }), HasSubstr("columns"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.feed_forward = {1, 32}; }), HasSubstr("columns"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.vocabulary.count = 999; }), HasSubstr("vocabulary"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.embeds = false; }), HasSubstr("embedding"));
    EXPECT_THAT(slice_refusal([](auto& s) { s.heads = false; }), HasSubstr("output"));
}

}  // namespace
}  // namespace exomesh::runner
