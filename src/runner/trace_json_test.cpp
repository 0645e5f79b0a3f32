#include "runner/trace_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace exomesh::runner {
namespace {

using Json = nlohmann::json;
using platform::SpanKind;
using platform::TraceSpan;
using ::testing::HasSubstr;

constexpr std::uint64_t start_ns = 7'000'000'000'000'123;

TraceSpan span(SpanKind kind, std::uint64_t begin_ns, std::uint64_t end_ns,
               std::uint16_t part = 0) {
    return {.begin_ns = start_ns + begin_ns,
            .end_ns = start_ns + end_ns,
            .step = 4,
            .amount = 1088,
            .part = part,
            .peer = kind == SpanKind::wait ? std::uint16_t{1} : platform::no_peer,
            .kind = kind};
}

// A step with the two sums of a layer, as a recorder gives it: in the order of the ends.
std::vector<TraceSpan> step_spans() {
    return {span(SpanKind::order, 100, 200),      span(SpanKind::compute, 300, 1'300),
            span(SpanKind::encode, 1'300, 1'400), span(SpanKind::wait, 1'400, 2'400),
            span(SpanKind::sum, 1'300, 2'500),    span(SpanKind::compute, 2'500, 2'600, 1),
            span(SpanKind::sum, 2'600, 2'800, 1), span(SpanKind::compute, 2'800, 3'000, 2),
            span(SpanKind::step, 0, 3'000),       span(SpanKind::logits_in, 3'100, 4'000),
            span(SpanKind::sample, 4'000, 5'001)};
}

Json written(const std::vector<TracedRank>& ranks, const TraceDescription& description = {}) {
    std::string text;
    const auto done = write_trace(description, ranks, [&text](std::string_view more) {
        text += more;
        return Result<void>();
    });
    EXPECT_TRUE(done.has_value());
    return Json::parse(text);
}

std::vector<Json> events(const Json& trace, const std::string& phase, std::size_t rank) {
    std::vector<Json> out;
    for (const Json& event : trace["traceEvents"]) {
        if (event["ph"] == phase && event["pid"] == rank) out.push_back(event);
    }
    return out;
}

// In ns, exactly.
std::int64_t ns(const Json& event, const char* field) {
    return std::llround(event[field].get<double>() * 1000);
}

TEST(TraceJson, has_every_span_in_order_from_the_first_on) {
    const Json trace = written({{.name = {.device = "cpu"}, .spans = step_spans()}});
    const auto spans = events(trace, "X", 0);
    ASSERT_EQ(spans.size(), step_spans().size());
    EXPECT_EQ(spans[0]["name"], "step");
    EXPECT_EQ(ns(spans[0], "ts"), 0);
    EXPECT_EQ(ns(spans[0], "dur"), 3000);
    for (std::size_t i = 1; i < spans.size(); ++i)
        EXPECT_LE(ns(spans[i - 1], "ts"), ns(spans[i], "ts"));
    EXPECT_EQ(spans.back()["name"], "sample");
    EXPECT_EQ(ns(spans.back(), "dur"), 1001);
}

TEST(TraceJson, arguments_say_what_a_span_is_about) {
    const Json trace = written(
        {{.name = {.device = "cpu", .layer_first = 10, .layer_count = 1}, .spans = step_spans()}});
    std::map<std::string, Json> by_name;
    for (const Json& event : events(trace, "X", 0)) by_name[event["name"]] = event["args"];
    EXPECT_EQ(by_name["step"], (Json{{"step", 4}, {"tokens", 1088}}));
    EXPECT_EQ(by_name["wait"], (Json{{"step", 4},
                                     {"layer", 10},
                                     {"sum", "attention"},
                                     {"bytes", 1088},
                                     {"peer", "rank 1"}}));
    EXPECT_EQ(by_name["sum"],
              (Json{{"step", 4}, {"layer", 10}, {"sum", "feed-forward"}, {"values", 1088}}));
    EXPECT_EQ(by_name["compute"], (Json{{"step", 4}}));  // behind all layers
}

TEST(TraceJson, whole_steps_are_balanced) {
    const Json trace = written({{.name = {.device = "cpu"}, .spans = step_spans()}});
    const auto begins = events(trace, "b", 0);
    const auto ends = events(trace, "e", 0);
    ASSERT_EQ(begins.size(), 1U);
    ASSERT_EQ(ends.size(), 1U);
    EXPECT_EQ(begins[0]["id"], ends[0]["id"]);
    EXPECT_EQ(begins[0]["name"], "step 4: 1088 tokens");
    EXPECT_EQ(ns(begins[0], "ts"), 0);
    EXPECT_EQ(ns(ends[0], "ts"), 4000);
}

TEST(TraceJson, ranks_are_on_the_clock_of_the_head) {
    std::vector<TracedRank> ranks(2);
    ranks[0] = {.name = {.device = "cpu"}, .spans = step_spans()};
    ranks[1] = {.name = {.device = "vulkan0", .host = "10.0.0.2:4710"}, .spans = step_spans()};
    // Its clock is 1 s behind; ways of 20 µs.
    const std::uint64_t behind_ns = 1'000'000'000;
    for (TraceSpan& moved : ranks[1].spans) {
        moved.begin_ns -= behind_ns - 500;
        moved.end_ns -= behind_ns - 500;
    }
    ASSERT_TRUE(ranks[1].clock.add({.request_sent_ns = start_ns,
                                    .request_received_ns = start_ns - behind_ns + 20'000,
                                    .answer_sent_ns = start_ns - behind_ns + 20'000,
                                    .answer_received_ns = start_ns + 40'000}));
    const Json trace = written(ranks);
    const auto spans = events(trace, "X", 1);
    ASSERT_EQ(spans.size(), step_spans().size());
    EXPECT_NEAR(static_cast<double>(ns(spans[0], "ts")), 500, 4);
    const Json& about = trace["otherData"]["ranks"];
    EXPECT_EQ(about[0]["clock_uncertainty_us"], 0.0);
    EXPECT_NEAR(about[1]["clock_uncertainty_us"].get<double>(), 20, 0.1);
    EXPECT_EQ(about[1]["host"], "10.0.0.2:4710");
    const auto names = events(trace, "M", 1);
    ASSERT_EQ(names.size(), 4U);
    EXPECT_EQ(names[0]["args"]["name"], "rank 1: vulkan0 at 10.0.0.2:4710");
    EXPECT_EQ(names[2]["args"]["labels"], "clock right within 20.0 µs");
}

TEST(TraceJson, says_what_is_missing) {
    std::vector<TracedRank> ranks(2);
    ranks[0] = {.name = {.device = "cpu"}, .spans = step_spans(), .dropped_count = 17};
    ranks[1] = {.name = {.device = "cpu"}, .spans = step_spans()};  // of no known clock
    const Json trace = written(ranks);
    EXPECT_EQ(trace["otherData"]["ranks"][0]["spans_dropped"], 17);
    EXPECT_TRUE(trace["otherData"]["ranks"][1]["clock_uncertainty_us"].is_null());
    EXPECT_EQ(events(trace, "M", 1)[2]["args"]["labels"], "clock not compared");
}

TEST(TraceJson, hostile_names_and_times_stay_inside) {
    const std::string name = "\"},{\"ph\":\"X\"\\\n\x01\xff\xfe</script>";
    std::vector<TracedRank> ranks(2);
    ranks[0] = {.name = {.device = name, .host = name}, .spans = step_spans()};
    ranks[1] = {.name = {.device = name}, .spans = {{.begin_ns = 0, .end_ns = ~0ULL}}};
    const Json trace = written(ranks, {.program = name, .model = name});
    EXPECT_EQ(events(trace, "X", 0).size(), step_spans().size());
    EXPECT_EQ(events(trace, "X", 1).size(), 1U);
    EXPECT_THAT(trace["otherData"]["model"].get<std::string>(), HasSubstr("\"},{\"ph\""));
    for (const Json& event : trace["traceEvents"]) {
        if (event["ph"] == "X") {
            EXPECT_GE(event["dur"].get<double>(), 0);
        }
    }
}

TEST(TraceJson, of_nothing_is_still_a_trace) {
    EXPECT_EQ(written({})["traceEvents"].size(), 0U);
    EXPECT_EQ(events(written({{}}), "X", 0).size(), 0U);
}

TEST(TraceJson, ends_with_the_sinks_error) {
    std::vector<TracedRank> ranks(1);
    for (int i = 0; i < 1000; ++i) {
        const auto more = step_spans();
        ranks[0].spans.insert(ranks[0].spans.end(), more.begin(), more.end());
    }
    int call_count = 0;
    const auto done = write_trace({}, ranks, [&](std::string_view) -> Result<void> {
        ++call_count;
        return fail(ErrorCode::io, "full");
    });
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().message, "full");
    EXPECT_EQ(call_count, 1);
}

}  // namespace
}  // namespace exomesh::runner
