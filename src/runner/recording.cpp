#include "runner/recording.h"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <limits>
#include <string>

#include "base/assert.h"

namespace exomesh::runner {
namespace {

//   figures       = { step u32 | total u32 | compute u32 | sum u32 | wait u32 | sent u32
//                   | received u32 } ...
//   span report   = dropped u64 | is last u32 | zero u32 | spans
//   span          = begin u64 | end u64 | step u32 | amount u32 | part u16 | peer u16 | kind u8
//                 | zeros
//   clock request = sent u64
//   clock answer  = sent u64 | received u64 | answered u64
constexpr std::size_t figures_bytes = 28;
constexpr std::size_t report_head_bytes = 16;
constexpr std::size_t span_bytes = 32;

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

// Takes fields from the head of a payload whose size has been checked.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
    template <std::integral T>
    void get(T& out) {
        std::memcpy(&out, bytes_.data(), sizeof out);
        bytes_ = bytes_.subspan(sizeof out);
    }

  private:
    std::span<const std::byte> bytes_;
};

// Appends fields to a payload that has room for them.
class RecordingWriter {
  public:
    explicit RecordingWriter(std::span<std::byte> bytes) : bytes_(bytes) {}
    template <std::integral T>
    void put(T value) {
        std::memcpy(bytes_.data(), &value, sizeof value);
        bytes_ = bytes_.subspan(sizeof value);
    }

  private:
    std::span<std::byte> bytes_;
};

std::unexpected<Error> bad(const std::string& what, const std::string& why) {
    return fail(ErrorCode::corrupt_data, "the rank's " + what + " " + why + ".");
}

std::uint32_t to_us(std::uint64_t ns) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(ns / 1000, step_us_max));
}

Result<platform::TraceSpan> read_span(std::span<const std::byte> bytes) {
    platform::TraceSpan span;
    std::uint8_t kind = 0;
    std::uint8_t zero = 0;
    std::uint16_t zeros = 0;
    Reader reader(bytes);
    reader.get(span.begin_ns);
    reader.get(span.end_ns);
    reader.get(span.step);
    reader.get(span.amount);
    reader.get(span.part);
    reader.get(span.peer);
    reader.get(kind);
    reader.get(zero);
    reader.get(zeros);
    if (kind >= platform::span_kind_count || zero != 0 || zeros != 0)
        return bad("trace", "has a span of an unknown kind");
    if (span.end_ns < span.begin_ns) return bad("trace", "has a span that ends before it begins");
    span.kind = static_cast<platform::SpanKind>(kind);
    return span;
}

}  // namespace

StepFigures take_figures(platform::TraceRecorder& recorder) {
    const platform::SpanTotals totals = recorder.take_totals();
    const auto of = [&totals](platform::SpanKind kind) {
        return to_us(totals[static_cast<std::size_t>(kind)]);
    };
    return {.total_us = of(platform::SpanKind::step),
            .compute_us = of(platform::SpanKind::compute),
            .sum_us = of(platform::SpanKind::sum),
            .wait_us = of(platform::SpanKind::wait)};
}

StepFigures within_total(StepFigures figures) {
    figures.compute_us = std::min(figures.compute_us, figures.total_us);
    figures.sum_us = std::min(figures.sum_us, figures.total_us - figures.compute_us);
    figures.wait_us = std::min(figures.wait_us, figures.total_us);
    return figures;
}

std::vector<std::byte> encode_figures(std::span<const StepFigures> figures) {
    EXO_ASSERT(figures.size() <= figures_per_message_max);
    std::vector<std::byte> bytes(figures.size() * figures_bytes);
    RecordingWriter writer(bytes);
    for (const StepFigures& step : figures) {
        for (const std::uint32_t value : {step.step, step.total_us, step.compute_us, step.sum_us,
                                          step.wait_us, step.sent_bytes, step.received_bytes}) {
            writer.put(value);
        }
    }
    return bytes;
}

Result<std::vector<StepFigures>> decode_figures(std::span<const std::byte> payload) {
    if (payload.size() % figures_bytes != 0) return bad("figures", "are cut off");
    if (payload.size() > figures_per_message_max * figures_bytes)
        return bad("figures", "are too many");
    std::vector<StepFigures> figures(payload.size() / figures_bytes);
    Reader reader(payload);
    std::int64_t last_step = -1;
    for (StepFigures& step : figures) {
        for (std::uint32_t* value : {&step.step, &step.total_us, &step.compute_us, &step.sum_us,
                                     &step.wait_us, &step.sent_bytes, &step.received_bytes}) {
            reader.get(*value);
        }
        if (step.step <= last_step) return bad("figures", "are not in the order of steps");
        last_step = step.step;
        const bool is_possible = step.total_us <= step_us_max && step.wait_us <= step.total_us &&
                                 std::uint64_t{step.compute_us} + step.sum_us <= step.total_us;
        if (!is_possible) return bad("figures", "make a step longer than it was");
    }
    return figures;
}

std::vector<std::byte> encode_span_report(const SpanReport& report) {
    EXO_ASSERT(report.spans.size() <= spans_per_message_max);
    std::vector<std::byte> bytes(report_head_bytes + report.spans.size() * span_bytes);
    RecordingWriter writer(bytes);
    writer.put(report.dropped_count);
    writer.put(std::uint32_t{report.is_last});
    writer.put(std::uint32_t{0});
    for (const platform::TraceSpan& span : report.spans) {
        writer.put(span.begin_ns);
        writer.put(span.end_ns);
        writer.put(span.step);
        writer.put(span.amount);
        writer.put(span.part);
        writer.put(span.peer);
        writer.put(std::uint32_t{static_cast<std::uint8_t>(span.kind)});
    }
    return bytes;
}

Result<SpanReport> decode_span_report(std::span<const std::byte> payload) {
    if (payload.size() < report_head_bytes ||
        (payload.size() - report_head_bytes) % span_bytes != 0) {
        return bad("trace", "is cut off");
    }
    const std::size_t count = (payload.size() - report_head_bytes) / span_bytes;
    if (count > spans_per_message_max) return bad("trace", "has too many spans in one message");
    SpanReport report;
    std::uint32_t is_last = 0;
    std::uint32_t zero = 0;
    Reader reader(payload);
    reader.get(report.dropped_count);
    reader.get(is_last);
    reader.get(zero);
    if (is_last > 1 || zero != 0) return bad("trace", "has an unknown head");
    report.is_last = is_last == 1;
    payload = payload.subspan(report_head_bytes);
    for (; !payload.empty(); payload = payload.subspan(span_bytes)) {
        EXO_TRY_ASSIGN(const platform::TraceSpan span, read_span(payload.first(span_bytes)));
        report.spans.push_back(span);
    }
    return report;
}

std::array<std::byte, 8> encode_clock_request(std::uint64_t sent_ns) {
    std::array<std::byte, 8> bytes{};
    RecordingWriter(bytes).put(sent_ns);
    return bytes;
}

Result<std::uint64_t> decode_clock_request(std::span<const std::byte> payload) {
    if (payload.size() != 8) return bad("question for the time", "has a wrong size");
    std::uint64_t sent_ns = 0;
    Reader(payload).get(sent_ns);
    return sent_ns;
}

std::array<std::byte, 24> encode_clock_answer(const ClockSample& sample) {
    std::array<std::byte, 24> bytes{};
    RecordingWriter writer(bytes);
    writer.put(sample.request_sent_ns);
    writer.put(sample.request_received_ns);
    writer.put(sample.answer_sent_ns);
    return bytes;
}

Result<ClockSample> decode_clock_answer(std::span<const std::byte> payload) {
    if (payload.size() != 24) return bad("time", "has a wrong size");
    ClockSample sample;
    Reader reader(payload);
    reader.get(sample.request_sent_ns);
    reader.get(sample.request_received_ns);
    reader.get(sample.answer_sent_ns);
    return sample;
}

std::array<std::byte, 4> encode_take_recorded(std::uint32_t step_count) {
    std::array<std::byte, 4> bytes{};
    RecordingWriter(bytes).put(step_count);
    return bytes;
}

Result<std::uint32_t> decode_take_recorded(std::span<const std::byte> payload) {
    if (payload.size() != 4) return bad("question for the trace", "has a wrong size");
    std::uint32_t step_count = 0;
    Reader(payload).get(step_count);
    return step_count;
}

}  // namespace exomesh::runner
