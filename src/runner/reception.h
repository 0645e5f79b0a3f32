// Who comes to a worker's port: one head at a time is let in, others are told at once that they
// come too late, the ranks of the head's session are handed on, and strangers, who say nothing or
// nonsense, hold nobody up: each handshake has a thread of its own. There are few of them; where
// all are taken, the guest that has been silent for longest goes. Only who connects more often
// within one handshake than there are threads could keep others out.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/result.h"
#include "net/data_link.h"
#include "platform/deadline.h"
#include "platform/socket.h"

namespace exomesh::runner {

inline constexpr std::size_t guest_count_max = 16;  // handshakes at a time
// Strangers decide how often there is something to tell: no more than so many lines in so long.
inline constexpr std::uint32_t told_count_max = 32;
inline constexpr std::uint64_t told_ms = 10'000;

class Reception {
  public:
    // `on_event` gets a line for people, by several threads at once. `listener` must outlive the
    // reception, and nobody else may take connections from it. `setup` is that of a control link.
    Reception(net::LinkListener& listener, net::LinkSetup setup,
              std::function<void(const std::string&)> on_event);
    Reception(const Reception&) = delete;
    Reception& operator=(const Reception&) = delete;
    ~Reception();

    // The methods are for the thread that serves the head, but where they say otherwise.

    // Lets one head in, or nobody until the deadline. The head was told (MessageType::welcome).
    // From then on other heads are told that the worker is busy.
    [[nodiscard]] std::optional<net::DataLink> wait_for_head(net::Deadline deadline);
    // The head has given its order: who comes now is greeted as a rank of its session. Another head
    // that may come sees that this is not its session, and knows what that means (control_setup()).
    void expect_ranks(net::LinkSetup setup);
    // The next rank, or nobody until the deadline. From any thread.
    [[nodiscard]] std::optional<net::DataLink> wait_for_rank(net::Deadline deadline);
    // Why somebody was refused since expect_ranks(), empty if nobody was. From any thread.
    [[nodiscard]] std::string last_refusal();
    // All ranks are there: who comes now is told that the worker is busy.
    void turn_others_away();
    // The head has gone. Only once for each: the next one may have been let in since.
    void be_free();

  private:
    struct Guest;

    void run();
    void take_next();
    [[nodiscard]] Result<void> receive(platform::Socket connection);
    // Ends those who have left, and the one that has been silent for longest where there is no room
    // for another. False: all that are here have something to say.
    [[nodiscard]] bool make_room();
    void meet(Guest& guest, platform::Socket connection);
    [[nodiscard]] bool claim();
    void let_in(net::DataLink link);
    void hand_on(std::uint64_t session, net::DataLink link);
    void refuse(const Guest& guest, const Error& error);
    void tell(const std::string& text);
    // False when it is over.
    [[nodiscard]] bool pause();

    net::LinkListener& listener_;
    const net::LinkSetup setup_;
    const std::function<void(const std::string&)> on_event_;

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    bool is_taken_ = false;  // some head has the worker
    bool is_over_ = false;
    std::optional<net::DataLink> head_;
    std::optional<net::LinkSetup> rank_setup_;  // while ranks are expected
    std::uint64_t session_ = 0;                 // counts expect_ranks()
    std::deque<net::DataLink> ranks_;
    std::string refusal_;
    std::list<Guest> guests_;  // in the order they came

    std::mutex tell_mutex_;  // guards what follows
    std::uint32_t told_count_ = 0;
    std::uint64_t untold_count_ = 0;
    platform::Deadline tell_again_at_ = platform::Deadline::after_ms(0);

    std::thread thread_;
};

// Of one head, from before it is let in: the worker is free again once it ends.
class HeadVisit {
  public:
    explicit HeadVisit(Reception& reception) : reception_(reception) {}
    HeadVisit(const HeadVisit&) = delete;
    HeadVisit& operator=(const HeadVisit&) = delete;
    ~HeadVisit() { end(); }
    // Earlier than that, and then not again.
    void end() {
        if (!std::exchange(has_ended_, true)) reception_.be_free();
    }

  private:
    Reception& reception_;
    bool has_ended_ = false;
};

}  // namespace exomesh::runner
