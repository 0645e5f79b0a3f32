// Notices that a device has stopped computing in a process that lives: a driver that hangs keeps
// the thread that waits for it for ever, and nothing else tells that from a long computation.
// A false alarm costs a healthy rank, and is worse than a late one.
//
// What counts is a segment: computing without a wait for other ranks, from begin_step() or resume()
// to pause() or end_step(). How long it may take follows from steps of its kind, for which drivers
// have the same shaders and graphs: as many tokens up to 8, else within a factor of two, at a
// position within a factor of two, with or without output rows. The first step of a kind may take
// as long as any step may, since drivers compile for it and weights come in from disk; it says
// nothing about others. A few that follow may take seconds. From then on it is 0.7 s and twenty
// times the slowest segment there was, of which each step forgets a sixteenth: a slow one does not
// make the watch blind for good.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/step_executor.h"

namespace exomesh::runner {

// What tells about how long a step takes.
struct StepExtent {
    std::size_t token_count = 0;
    std::size_t position = 0;  // behind the tokens of a slot: the mean over all tokens
    bool has_output = false;   // rows come out of the last layer
};

[[nodiscard]] StepExtent extent_of(std::span<const engine::SlotTokens> batch);

// Times are those of platform::monotonic_ns(). The computing thread's calls cost a few nanoseconds
// and take no lock.
class ComputeWatch {
  public:
    // For a segment of the first step of its kind.
    static constexpr std::uint64_t first_limit_ns = 600'000'000'000;
    // For one of so many steps that follow, at least: drivers compile variants.
    static constexpr std::uint32_t settling_count = 3;
    static constexpr std::uint64_t settling_limit_ns = 10'000'000'000;
    // How long a segment may take beside twenty times the slowest: what a busy system does to it.
    static constexpr std::uint64_t grace_ns = 700'000'000;
    // Devices that had nothing to do for so long sleep, and get so much longer to wake up.
    static constexpr std::uint64_t idle_ns = 2'000'000'000;
    static constexpr std::uint64_t wake_ns = 5'000'000'000;
    // Between two looks no more than this counts: the one who looks was held up itself, and the
    // whole process with it, it may be.
    static constexpr std::uint64_t look_ns_max = 400'000'000;
    // A CPU that has computed for so long gets on, where that is also so large a part of the time:
    // a dozen short messages a second, to and from the head, cost far less.
    static constexpr std::uint64_t cpu_progress_ns = 20'000'000;
    static constexpr std::uint64_t cpu_progress_part = 50;

    // --- the computing thread; pause() and resume() also of one that computes for it ---

    void begin_step(const StepExtent& extent, std::uint64_t now_ns);
    // False where no segment runs, outside of a step: nothing is to be resumed then.
    [[nodiscard]] bool pause(std::uint64_t now_ns);
    void resume(std::uint64_t now_ns);
    void end_step(std::uint64_t now_ns);

    // --- the watching thread, several times a second ---

    // How long the segment at hand has taken, where that is too long. `page_faults` counts the
    // reads from disk that this process waited for: where there were any since the last look, it
    // gets on, slow as that is. `cpu_ns`: for how long processors have computed for this process,
    // where its device is a CPU: a busy machine may give it little time, but no driver hangs. Else
    // 0: threads that wait for another device compute, too.
    [[nodiscard]] std::optional<std::uint64_t> overdue_ns(std::uint64_t now_ns,
                                                          std::uint64_t page_faults,
                                                          std::uint64_t cpu_ns = 0);

  private:
    struct Kind {
        std::uint64_t step_count = 0;  // completed
        std::uint64_t slowest_ns = 0;  // since the first

        [[nodiscard]] std::uint64_t limit_ns() const;
    };
    static constexpr std::size_t token_kind_count = 24;
    static constexpr std::size_t position_kind_count = 16;
    using KindsByPosition = std::array<Kind, position_kind_count>;

    [[nodiscard]] Kind& kind_of(const StepExtent& extent);
    void begin_segment(std::uint64_t now_ns);
    void end_segment(std::uint64_t now_ns);

    // Of the computing thread.
    std::array<std::array<KindsByPosition, token_kind_count>, 2> kinds_ = {};  // without, with rows
    Kind* kind_ = nullptr;  // of the step at hand

    // Written by the computing threads, one after the other.
    std::atomic<std::uint64_t> slowest_of_step_ns_ = 0;
    std::atomic<std::uint64_t> step_limit_ns_ = 0;  // of each of its segments, but for waking up
    std::atomic<std::uint64_t> limit_ns_ = 0;
    std::atomic<std::uint64_t> begin_ns_ = 0;  // of the segment at hand, 0 without one
    std::atomic<std::uint64_t> end_ns_ = 0;    // of the one before

    // Of the watching thread.
    std::uint64_t seen_begin_ns_ = 0;
    std::uint64_t counted_ns_ = 0;
    std::uint64_t last_look_ns_ = 0;
    std::uint64_t seen_faults_ = 0;
    std::uint64_t seen_cpu_ns_ = 0;  // when the segment at hand began, or got on
};

// While this lives, its rank waits for others. Without a watch nothing happens.
class ComputePause {
  public:
    explicit ComputePause(ComputeWatch* watch);
    ComputePause(const ComputePause&) = delete;
    ComputePause& operator=(const ComputePause&) = delete;
    ~ComputePause();

  private:
    ComputeWatch* watch_;  // nullptr where nothing is to be resumed
};

// A step, or what else a device is to do, while this lives.
class ComputeScope {
  public:
    ComputeScope(ComputeWatch* watch, const StepExtent& extent);
    ComputeScope(const ComputeScope&) = delete;
    ComputeScope& operator=(const ComputeScope&) = delete;
    ~ComputeScope();

  private:
    ComputeWatch* watch_;
};

}  // namespace exomesh::runner
