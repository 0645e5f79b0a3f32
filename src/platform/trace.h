// Records what a thread does and for how long: spans of time, for traces and figures.
//
// A thread records where it was given a recorder (record_this_thread); elsewhere a TraceScope is
// one test of a thread's own pointer. Spans go into a ring of fixed size that is allocated before;
// what finds it full is counted and left out. Beside them the recorder adds up the time of each
// kind.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "platform/clock.h"

namespace exomesh::platform {

// What a thread may do. Spans of one thread nest or follow each other.
enum class SpanKind : std::uint8_t {
    step,       // a rank's part in one step; amount: tokens
    order,      // the head tells all ranks what to compute; amount: bytes to each
    idle,       // a worker waits for the head's next order
    inputs,     // graph and inputs of a step are made ready
    compute,    // the device computes, between sums
    sum,        // a sum over the ranks of a tensor group: what follows is in it; amount: values
    encode,     // values become bytes; amount: bytes
    send,       // amount: bytes to each peer
    wait,       // until a peer's message is here; amount: bytes
    decode,     // bytes become values and are added; amount: bytes
    states_in,  // hidden states of the stage before; amount: values
    states_out,
    logits_in,  // the head gathers a step's logits; amount: rows
    logits_out,
    sample,     // the head chooses the next tokens; amount: rows
    copy_slot,  // amount: positions
};
inline constexpr std::size_t span_kind_count = 16;
[[nodiscard]] std::string_view span_name(SpanKind kind);

inline constexpr std::uint16_t no_peer = 0xffff;

struct TraceSpan {
    std::uint64_t begin_ns = 0, end_ns = 0;  // on this machine's monotonic_ns()
    std::uint32_t step = 0;
    std::uint32_t amount = 0;      // see SpanKind
    std::uint16_t part = 0;        // of compute, and all within a sum: the sum's number in its step
    std::uint16_t peer = no_peer;  // a rank
    SpanKind kind = SpanKind::step;
    bool operator==(const TraceSpan&) const = default;
};

// Sums of time by kind, in ns. Of nested spans each has the whole time.
using SpanTotals = std::array<std::uint64_t, span_kind_count>;

// Of one thread at most, 8 MiB: hundreds of decoded tokens with sums, tens of thousands without.
inline constexpr std::size_t trace_span_count_max = std::size_t{1} << 18;

// One thread records, and one other at most takes what was recorded.
class TraceRecorder {
  public:
    // `capacity` spans; 0: totals only.
    explicit TraceRecorder(std::size_t capacity) : spans_(capacity) {}
    TraceRecorder(const TraceRecorder&) = delete;
    TraceRecorder& operator=(const TraceRecorder&) = delete;

    // --- the recording thread ---

    // Spans from now on belong to this step.
    void begin_step(std::uint32_t step);
    void begin_next_step() { begin_step(next_step_); }
    // The next part of the step: a sum begins.
    void next_part() { ++part_; }
    void record(TraceSpan span);
    // Since the last call.
    [[nodiscard]] SpanTotals take_totals();
    // A device computes from here on, but not during sums: what begins and ends a `sum` ends and
    // begins a `compute`.
    void begin_compute(std::uint64_t now_ns) { compute_begin_ns_ = now_ns; }
    void end_compute(std::uint64_t now_ns);
    [[nodiscard]] bool computes() const { return compute_begin_ns_ != 0; }

    // --- the thread that takes ---

    // Up to `count_max` of the oldest spans, which make room for new ones.
    [[nodiscard]] std::vector<TraceSpan> take(std::size_t count_max);
    [[nodiscard]] std::uint64_t dropped_count() const { return dropped_count_; }

  private:
    std::vector<TraceSpan> spans_;
    std::atomic<std::size_t> written_ = 0, taken_ = 0;  // since the beginning
    std::atomic<std::uint64_t> dropped_count_ = 0;
    SpanTotals totals_ = {};
    std::uint64_t compute_begin_ns_ = 0;  // 0: nothing computes
    std::uint32_t step_ = 0, next_step_ = 0;
    std::uint16_t part_ = 0;
};

// The recorder must live until the thread has another one, or nullptr, or has ended.
void record_this_thread(TraceRecorder* recorder);

namespace detail {
inline constinit thread_local TraceRecorder* recorder_of_thread = nullptr;
}
[[nodiscard]] inline TraceRecorder* recorder_of_this_thread() {
    return detail::recorder_of_thread;
}

// One span, from here to the end of the block.
class TraceScope {
  public:
    explicit TraceScope(SpanKind kind, std::size_t amount = 0, std::uint16_t peer = no_peer)
        : recorder_(recorder_of_this_thread()) {
        if (recorder_ != nullptr) [[unlikely]]
            begin(kind, amount, peer);
    }
    ~TraceScope() {
        if (recorder_ != nullptr) [[unlikely]]
            end(monotonic_ns());
    }
    TraceScope(const TraceScope&) = delete;
    TraceScope& operator=(const TraceScope&) = delete;

    // Ends it, and begins another one at the same moment.
    void next(SpanKind kind, std::size_t amount = 0, std::uint16_t peer = no_peer) {
        if (recorder_ != nullptr) [[unlikely]]
            change(kind, amount, peer);
    }

    // Where it is known only later.
    void set_amount(std::size_t amount) { span_.amount = static_cast<std::uint32_t>(amount); }

  private:
    void begin(SpanKind kind, std::size_t amount, std::uint16_t peer);
    void change(SpanKind kind, std::size_t amount, std::uint16_t peer);
    void start(std::uint64_t now_ns, SpanKind kind, std::size_t amount, std::uint16_t peer);
    void end(std::uint64_t now_ns);

    TraceRecorder* recorder_;
    TraceSpan span_ = {};
    bool interrupts_ = false;  // computing, which goes on when this ends
};

// A step's number for what this thread records from here on.
inline void trace_step(std::uint32_t step) {
    if (TraceRecorder* recorder = recorder_of_this_thread()) [[unlikely]]
        recorder->begin_step(step);
}
inline void trace_next_step() {
    if (TraceRecorder* recorder = recorder_of_this_thread()) [[unlikely]]
        recorder->begin_next_step();
}

}  // namespace exomesh::platform
