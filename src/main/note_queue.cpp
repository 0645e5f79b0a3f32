#include "main/note_queue.h"

#include <utility>

namespace exomesh::main {

NoteQueue::NoteQueue(std::function<void(const std::string&)> print)
    : print_(std::move(print)), thread_([this] { run(); }) {}

NoteQueue::~NoteQueue() {
    flush();
    {
        const std::scoped_lock lock(mutex_);
        is_over_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void NoteQueue::push(std::string note) {
    {
        const std::scoped_lock lock(mutex_);
        if (notes_.size() == queued_note_count_max) {
            ++left_out_count_;
            return;
        }
        notes_.push_back(std::move(note));
    }
    changed_.notify_all();
}

void NoteQueue::flush() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return notes_.empty() && left_out_count_ == 0 && !is_printing_; });
}

void NoteQueue::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [&] { return is_over_ || !notes_.empty() || left_out_count_ > 0; });
        if (notes_.empty() && left_out_count_ == 0) return;
        std::string note;
        if (notes_.empty()) {
            note = "[" + std::to_string(std::exchange(left_out_count_, 0)) +
                   " lines left out: the terminal was too slow for them]\n";
        } else {
            note = std::move(notes_.front());
            notes_.pop_front();
        }
        is_printing_ = true;
        lock.unlock();
        print_(note);
        lock.lock();
        is_printing_ = false;
        changed_.notify_all();
    }
}

}  // namespace exomesh::main
