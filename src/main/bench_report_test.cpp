#include "main/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace exomesh::main {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

BenchLine line_of_two_ranks() {
    BenchLine line;
    line.facts.type = "llama 135M Q4_1";
    line.test = {.generated_count = 16};
    line.result = {.samples_ns = {},
                   .samples_ts = {},
                   .avg_ts = 12.5,
                   .token_p50_us = 1500,
                   .token_p99_us = 2250};
    line.thread_count = 1;
    line.rank_count = 2;
    line.split = "tensor";
    line.wire = "q8";
    line.links.pairs = {{.from = 0,
                         .to = 1,
                         .is_loopback = true,
                         .link = {.round_trip_count = 9,
                                  .round_trip_p50_us = 21,
                                  .round_trip_p99_us = 35,
                                  .bytes_per_s = 2.5e9}}};
    line.links.sums = {.rank_count = 2, .value_count = 576, .p50_us = 25, .p99_us = 70};
    return line;
}

std::size_t columns(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count(text.substr(0, text.find('\n')), '|'));
}

TEST(BenchReport, has_a_head_for_every_row) {
    for (const bool is_cluster : {false, true}) {
        const std::string head = table_head(is_cluster);
        const std::string rules = head.substr(head.find('\n') + 1);
        EXPECT_EQ(columns(head), columns(rules));
        EXPECT_EQ(columns(head), columns(table_row(line_of_two_ranks(), is_cluster)));
        BenchLine prefill = line_of_two_ranks();
        prefill.test = {.prompt_count = 512};
        EXPECT_EQ(columns(head), columns(table_row(prefill, is_cluster)));
    }
    EXPECT_THAT(table_head(false), Not(HasSubstr("ranks")));
}

TEST(BenchReport, shows_what_ranks_and_single_tokens_took) {
    const std::string row = table_row(line_of_two_ranks(), true);
    EXPECT_THAT(row, HasSubstr("tensor"));
    EXPECT_THAT(row, HasSubstr(" tg16 | "));
    EXPECT_THAT(row, HasSubstr("1.50 |       2.25 |"));
    BenchLine foreign = line_of_two_ranks();
    foreign.information.device = "cpu + \033[2J";  // as a worker calls it
    EXPECT_THAT(table_row(foreign, true), HasSubstr("| cpu + ?[2J"));
}

TEST(BenchReport, shows_what_lies_between_the_ranks) {
    const std::string table = links_table(line_of_two_ranks());
    EXPECT_THAT(table, HasSubstr("ranks 0 and 1, loopback"));
    EXPECT_THAT(table, HasSubstr("2500 |"));
    EXPECT_THAT(table, HasSubstr("sum of 576 values, 2 ranks, q8"));
}

TEST(BenchReport, writes_the_same_as_json) {
    const model::Json entry = json_entry(line_of_two_ranks(), {{"n_batch", 7}});
    EXPECT_EQ(entry["n_batch"], 7);
    EXPECT_EQ(entry["n_ranks"], 2);
    EXPECT_EQ(entry["token_ms_p99"], 2.25);
    EXPECT_EQ(entry["links"][0]["kind"], "loopback");
    EXPECT_EQ(entry["links"][0]["round_trip_us_p50"], 21);
    EXPECT_EQ(entry["sums"]["us_p99"], 70);
    BenchLine alone = line_of_two_ranks();
    alone.rank_count = 1;
    EXPECT_FALSE(json_entry(alone, model::Json::object()).contains("links"));
}

}  // namespace
}  // namespace exomesh::main
