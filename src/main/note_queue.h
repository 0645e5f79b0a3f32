// Notes from threads that must not wait for the terminal: a pager or Ctrl-S may hold it up for
// ever.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace exomesh::main {

inline constexpr std::size_t queued_note_count_max = 1000;

// Any thread may use it.
class NoteQueue {
  public:
    // `print` is called on a thread of the queue.
    explicit NoteQueue(std::function<void(const std::string&)> print);
    ~NoteQueue();  // after flush()
    NoteQueue(const NoteQueue&) = delete;
    NoteQueue& operator=(const NoteQueue&) = delete;

    // Never waits: what comes while the queue is full is left out, and their number is printed.
    void push(std::string note);
    // Waits until all is printed.
    void flush();

  private:
    void run();

    const std::function<void(const std::string&)> print_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<std::string> notes_;
    std::uint64_t left_out_count_ = 0;
    bool is_printing_ = false;
    bool is_over_ = false;
    std::thread thread_;
};

}  // namespace exomesh::main
