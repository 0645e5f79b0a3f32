#include "runner/recording.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace exomesh::runner {
namespace {

using platform::SpanKind;
using platform::TraceSpan;
using ::testing::HasSubstr;

TraceSpan random_span(std::mt19937_64& random) {
    const std::uint64_t begin_ns = random() >> 1;
    return {.begin_ns = begin_ns,
            .end_ns = begin_ns + (random() >> 2),
            .step = static_cast<std::uint32_t>(random()),
            .amount = static_cast<std::uint32_t>(random()),
            .part = static_cast<std::uint16_t>(random()),
            .peer = static_cast<std::uint16_t>(random()),
            .kind = static_cast<SpanKind>(random() % platform::span_kind_count)};
}

std::vector<StepFigures> some_figures() {
    return {{.step = 3,
             .total_us = 100,
             .compute_us = 60,
             .sum_us = 40,
             .wait_us = 100,
             .sent_bytes = std::numeric_limits<std::uint32_t>::max(),
             .received_bytes = 7},
            {.step = 9, .total_us = step_us_max}};
}

template <typename T>
void expect_refused(const Result<T>& result, const std::string& words) {
    ASSERT_FALSE(result.has_value()) << words;
    EXPECT_EQ(result.error().code, ErrorCode::corrupt_data);
    EXPECT_THAT(result.error().message, HasSubstr(words));
}

TEST(Recording, figures_come_back_as_they_went) {
    EXPECT_EQ(decode_figures(encode_figures(some_figures())), some_figures());
    EXPECT_EQ(decode_figures({}), std::vector<StepFigures>());
}

TEST(Recording, figures_that_cannot_be_are_refused) {
    const auto refuses = [](const std::string& words, auto change) {
        std::vector<StepFigures> figures = some_figures();
        change(figures);
        expect_refused(decode_figures(encode_figures(figures)), words);
    };
    refuses("order of steps", [](auto& figures) { figures[1].step = 3; });
    refuses("longer than it was", [](auto& figures) { ++figures[0].compute_us; });
    refuses("longer than it was", [](auto& figures) { ++figures[0].wait_us; });
    refuses("longer than it was", [](auto& figures) {
        figures[0].compute_us = figures[0].sum_us = std::numeric_limits<std::uint32_t>::max();
    });
    refuses("longer than it was", [](auto& figures) { ++figures[1].total_us; });
    auto bytes = encode_figures(some_figures());
    bytes.pop_back();
    expect_refused(decode_figures(bytes), "cut off");
    expect_refused(decode_figures(std::vector<std::byte>((figures_per_message_max + 1) * 28)),
                   "too many");
}

TEST(Recording, spans_come_back_as_they_went) {
    std::mt19937_64 random(5);
    SpanReport report{.dropped_count = random(), .is_last = true, .spans = {}};
    EXPECT_EQ(decode_span_report(encode_span_report(report)), report);
    for (std::size_t i = 0; i < spans_per_message_max; ++i)
        report.spans.push_back(random_span(random));
    EXPECT_EQ(decode_span_report(encode_span_report(report)), report);
}

TEST(Recording, spans_that_cannot_be_are_refused) {
    std::mt19937_64 random(6);
    const SpanReport report{.spans = {random_span(random), random_span(random)}};
    const auto refuses = [&](const std::string& words, std::size_t at, unsigned char value) {
        auto bytes = encode_span_report(report);
        bytes[at] = static_cast<std::byte>(value);
        expect_refused(decode_span_report(bytes), words);
    };
    constexpr std::size_t second = 16 + 32;
    refuses("unknown head", 8, 2);
    refuses("unknown head", 12, 1);
    refuses("unknown kind", second + 28, platform::span_kind_count);
    refuses("unknown kind", second + 31, 1);
    refuses("ends before it begins", second + 7, 0xff);
    auto bytes = encode_span_report(report);
    bytes.pop_back();
    expect_refused(decode_span_report(bytes), "cut off");
    expect_refused(decode_span_report(std::span(bytes).first(15)), "cut off");
    bytes.resize(16 + 32 * (spans_per_message_max + 1));
    expect_refused(decode_span_report(bytes), "too many spans");
}

TEST(Recording, clock_messages_come_back_as_they_went) {
    EXPECT_EQ(decode_clock_request(encode_clock_request(1ULL << 63)), 1ULL << 63);
    const auto answer = decode_clock_answer(
        encode_clock_answer({.request_sent_ns = 1, .request_received_ns = 2, .answer_sent_ns = 3}));
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->request_sent_ns, 1U);
    EXPECT_EQ(answer->request_received_ns, 2U);
    EXPECT_EQ(answer->answer_sent_ns, 3U);
    EXPECT_EQ(decode_take_recorded(encode_take_recorded(77)), 77U);
    const std::vector<std::byte> bytes(25);
    expect_refused(decode_clock_request(std::span(bytes).first(7)), "wrong size");
    expect_refused(decode_clock_answer(bytes), "wrong size");
    expect_refused(decode_take_recorded(std::span(bytes).first(5)), "wrong size");
}

TEST(Recording, figures_are_what_the_recorder_added_up) {
    platform::TraceRecorder recorder(0);
    const auto record = [&](SpanKind kind, std::uint64_t us) {
        recorder.record({.begin_ns = 1000, .end_ns = 1000 + us * 1000, .kind = kind});
    };
    record(SpanKind::step, 100);
    record(SpanKind::compute, 20);
    record(SpanKind::compute, 30);
    record(SpanKind::sum, 40);
    record(SpanKind::wait, 35);
    record(SpanKind::idle, 9000);
    const StepFigures expected{.total_us = 100, .compute_us = 50, .sum_us = 40, .wait_us = 35};
    EXPECT_EQ(take_figures(recorder), expected);
    EXPECT_EQ(take_figures(recorder), StepFigures{});
}

}  // namespace
}  // namespace exomesh::runner
