#include "platform/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace exomesh::platform {
namespace {

using ::testing::ElementsAre;

// Gives the thread of a test a recorder for as long as the test lasts.
class TraceTest : public ::testing::Test {
  protected:
    TraceTest() { record_this_thread(&recorder_); }
    ~TraceTest() override { record_this_thread(nullptr); }

    [[nodiscard]] std::vector<TraceSpan> spans() { return recorder_.take(1000); }
    [[nodiscard]] static std::vector<SpanKind> kinds(const std::vector<TraceSpan>& spans) {
        std::vector<SpanKind> out;
        for (const TraceSpan& span : spans) out.push_back(span.kind);
        return out;
    }

    TraceRecorder recorder_{8};
};

TEST_F(TraceTest, a_scope_is_a_span_with_what_it_was_told) {
    const std::uint64_t before_ns = monotonic_ns();
    trace_step(7);
    {
        TraceScope outer(SpanKind::step);
        const TraceScope inner(SpanKind::wait, 1024, 3);
        outer.set_amount(5);
    }
    const auto found = spans();
    ASSERT_EQ(found.size(), 2U);
    const TraceSpan& wait = found[0];  // in the order in which they ended
    const TraceSpan& step = found[1];
    EXPECT_EQ(wait.kind, SpanKind::wait);
    EXPECT_EQ(wait.amount, 1024U);
    EXPECT_EQ(wait.peer, 3);
    EXPECT_EQ(step.amount, 5U);
    EXPECT_EQ(step.peer, no_peer);
    for (const TraceSpan& span : found) EXPECT_EQ(span.step, 7U);
    EXPECT_LE(before_ns, step.begin_ns);
    EXPECT_LE(step.begin_ns, wait.begin_ns);
    EXPECT_LE(wait.begin_ns, wait.end_ns);
    EXPECT_LE(wait.end_ns, step.end_ns);
    EXPECT_LE(step.end_ns, monotonic_ns());
}

TEST_F(TraceTest, next_goes_on_at_the_same_moment) {
    {
        TraceScope scope(SpanKind::encode, 1);
        scope.next(SpanKind::send, 2);
        scope.next(SpanKind::wait, 3, 1);
    }
    const auto found = spans();
    ASSERT_THAT(kinds(found), ElementsAre(SpanKind::encode, SpanKind::send, SpanKind::wait));
    EXPECT_EQ(found[0].end_ns, found[1].begin_ns);
    EXPECT_EQ(found[1].end_ns, found[2].begin_ns);
    EXPECT_EQ(found[2].amount, 3U);
}

TEST_F(TraceTest, sums_interrupt_computing_and_count_its_parts) {
    trace_next_step();
    {
        const TraceScope compute(SpanKind::compute);
        for (int i = 0; i < 2; ++i) {
            const TraceScope sum(SpanKind::sum);
            const TraceScope wait(SpanKind::wait);
        }
    }
    const auto found = spans();
    ASSERT_THAT(kinds(found),
                ElementsAre(SpanKind::compute, SpanKind::wait, SpanKind::sum, SpanKind::compute,
                            SpanKind::wait, SpanKind::sum, SpanKind::compute));
    std::vector<std::uint16_t> parts;
    for (const TraceSpan& span : found) parts.push_back(span.part);
    EXPECT_THAT(parts, ElementsAre(0, 0, 0, 1, 1, 1, 2));
    for (const std::size_t sum : {2U, 5U}) {
        EXPECT_EQ(found[sum - 2].end_ns, found[sum].begin_ns);
        EXPECT_EQ(found[sum].end_ns, sum == 2 ? found[3].begin_ns : found[6].begin_ns);
    }
}

TEST_F(TraceTest, a_sum_outside_of_computing_interrupts_nothing) {
    {
        const TraceScope sum(SpanKind::sum);
    }
    EXPECT_THAT(kinds(spans()), ElementsAre(SpanKind::sum));
}

TEST_F(TraceTest, steps_are_numbered_from_0_where_nobody_says_so) {
    for (int i = 0; i < 2; ++i) {
        trace_next_step();
        const TraceScope scope(SpanKind::step);
    }
    const auto found = spans();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].step, 0U);
    EXPECT_EQ(found[1].step, 1U);
}

TEST_F(TraceTest, what_finds_no_room_is_counted) {
    const auto record = [](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) const TraceScope scope(SpanKind::send, i);
    };
    record(11);
    EXPECT_EQ(recorder_.dropped_count(), 3U);
    EXPECT_EQ(recorder_.take(5).back().amount, 4U);  // the oldest are there, and make room
    record(5);
    EXPECT_EQ(recorder_.dropped_count(), 3U);
    const auto rest = spans();
    ASSERT_EQ(rest.size(), 8U);
    EXPECT_EQ(rest[2].amount, 7U);
    EXPECT_EQ(rest[3].amount, 0U);
    EXPECT_TRUE(spans().empty());
}

TEST_F(TraceTest, totals_add_up_by_kind_also_where_no_spans_are_kept) {
    TraceRecorder totals_only(0);
    record_this_thread(&totals_only);
    for (int i = 0; i < 3; ++i) {
        const TraceScope scope(SpanKind::encode);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const SpanTotals totals = totals_only.take_totals();
    EXPECT_GE(totals[static_cast<std::size_t>(SpanKind::encode)], 3'000'000U);
    EXPECT_EQ(totals[static_cast<std::size_t>(SpanKind::send)], 0U);
    EXPECT_EQ(totals_only.take_totals(), SpanTotals{});
    EXPECT_TRUE(totals_only.take(10).empty());
    EXPECT_EQ(totals_only.dropped_count(), 0U);
}

TEST_F(TraceTest, other_threads_record_nothing) {
    std::thread([] { const TraceScope scope(SpanKind::step); }).join();
    EXPECT_TRUE(spans().empty());
}

// What is taken while another thread records is in order and complete.
TEST(TraceRecorderTest, gives_to_another_thread) {
    constexpr std::uint32_t span_count = 100'000;
    TraceRecorder recorder(1024);
    std::thread thread([&] {
        for (std::uint32_t i = 0; i < span_count; ++i)
            recorder.record({.begin_ns = i, .end_ns = i, .amount = i});
    });
    std::uint64_t taken_count = 0;
    std::uint32_t next = 0;
    bool is_ordered = true;
    while (taken_count + recorder.dropped_count() < span_count) {
        for (const TraceSpan& span : recorder.take(100)) {
            is_ordered = is_ordered && span.amount >= next && span.begin_ns == span.amount;
            next = span.amount + 1;
            ++taken_count;
        }
    }
    thread.join();
    EXPECT_TRUE(is_ordered);
    EXPECT_EQ(taken_count + recorder.dropped_count(), span_count);
    EXPECT_GT(taken_count, 0U);
}

TEST(SpanKindTest, each_has_a_name_of_its_own) {
    std::vector<std::string_view> names;
    for (std::size_t i = 0; i < span_kind_count; ++i)
        names.push_back(span_name(static_cast<SpanKind>(i)));
    for (std::size_t i = 0; i < names.size(); ++i) {
        EXPECT_NE(names[i], "unknown");
        for (std::size_t j = 0; j < i; ++j) EXPECT_NE(names[i], names[j]);
    }
    EXPECT_EQ(span_name(static_cast<SpanKind>(span_kind_count)), "unknown");
}

}  // namespace
}  // namespace exomesh::platform
