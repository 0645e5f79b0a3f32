// Notices that a device has stopped computing in a process that lives: a driver that hangs keeps
// the thread that waits for it for ever, and nothing else tells that from a long computation.
//
// What counts is a segment: computing without a wait for other ranks, from begin_step() or resume()
// to pause() or end_step(). How long it may take follows from steps of its kind, that is of about
// as many tokens at about the same place (each within a factor of two): 0.7 s and ten times the
// slowest segment there was. The first step of a kind may take as long as any step may, since
// drivers compile for it and weights come in from disk. What was slowest is forgotten by a quarter
// with each step: a first one that took long does not make the watch blind for good.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace exomesh::runner {

// Times are those of platform::monotonic_ns(). The computing thread's calls cost a few nanoseconds
// and take no lock.
class ComputeWatch {
  public:
    // For a first segment of its kind.
    static constexpr std::uint64_t first_limit_ns = 600'000'000'000;
    // How long a segment may take beside ten times the slowest: what a busy system does to it.
    static constexpr std::uint64_t grace_ns = 700'000'000;
    // Devices that had nothing to do for so long sleep, and get so much longer to wake up.
    static constexpr std::uint64_t idle_ns = 2'000'000'000;
    static constexpr std::uint64_t wake_ns = 5'000'000'000;
    // Between two looks no more than this counts: the one who looks was held up itself, and the
    // whole process with it, it may be.
    static constexpr std::uint64_t look_ns_max = 400'000'000;

    // --- the computing thread; pause() and resume() also of one that computes for it ---

    // `end_position`: behind the last token of the step.
    void begin_step(std::size_t token_count, std::size_t end_position, std::uint64_t now_ns);
    // False where no segment runs, outside of a step: nothing is to be resumed then.
    [[nodiscard]] bool pause(std::uint64_t now_ns);
    void resume(std::uint64_t now_ns);
    void end_step(std::uint64_t now_ns);

    // --- the watching thread, several times a second ---

    // How long the segment at hand has taken, where that is too long. `page_faults` counts the
    // reads from disk that this process waited for: where there were any since the last look, it
    // gets on, slow as that is.
    [[nodiscard]] std::optional<std::uint64_t> overdue_ns(std::uint64_t now_ns,
                                                          std::uint64_t page_faults);

  private:
    static constexpr std::size_t kind_count = 16;  // of numbers of tokens, and of positions

    void end_segment(std::uint64_t now_ns);

    // Of the computing thread. 0: no step of this kind was completed.
    std::array<std::array<std::uint64_t, kind_count>, kind_count> slowest_ns_ = {};
    std::uint64_t* slowest_of_kind_ns_ = nullptr;
    std::uint64_t step_end_ns_ = 0;

    // Written by the computing threads, one after the other.
    std::atomic<std::uint64_t> slowest_of_step_ns_ = 0;
    std::atomic<std::uint64_t> segment_limit_ns_ = 0;  // once this one is over
    std::atomic<std::uint64_t> limit_ns_ = 0;
    std::atomic<std::uint64_t> begin_ns_ = 0;  // of the segment at hand, 0 without one

    // Of the watching thread.
    std::uint64_t seen_begin_ns_ = 0;
    std::uint64_t counted_ns_ = 0;
    std::uint64_t last_look_ns_ = 0;
    std::uint64_t seen_faults_ = 0;
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
    ComputeScope(ComputeWatch* watch, std::size_t token_count, std::size_t end_position);
    ComputeScope(const ComputeScope&) = delete;
    ComputeScope& operator=(const ComputeScope&) = delete;
    ~ComputeScope();

  private:
    ComputeWatch* watch_;
};

}  // namespace exomesh::runner
