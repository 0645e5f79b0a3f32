// Who comes to a worker's port: one head at a time is let in, others are told at once that they
// come too late, and strangers, who say nothing or nonsense, hold nobody up: each handshake has a
// thread of its own, and there are few of them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "net/data_link.h"
#include "platform/socket.h"

namespace exomesh::runner {

inline constexpr std::size_t guest_count_max = 16;  // handshakes at a time; more are turned away

class Reception {
  public:
    // `on_event` gets a line for people, by any thread. `listener` must outlive the reception.
    Reception(net::LinkListener& listener, net::LinkSetup setup,
              std::function<void(const std::string&)> on_event);
    Reception(const Reception&) = delete;
    Reception& operator=(const Reception&) = delete;
    ~Reception();

    // Lets one head in, or nobody until the deadline. From then on nobody is accepted: the other
    // ranks come to the same port, and the caller takes them with the listener. The head was told
    // (MessageType::welcome): before that, no rank may come.
    [[nodiscard]] std::optional<net::DataLink> wait_for_head(net::Deadline deadline);
    // All ranks are there: who comes now is told that the worker is busy.
    void turn_others_away();
    // The head has gone.
    void be_free();

  private:
    enum class State { free, linking, busy };
    struct Guest;

    void run();
    [[nodiscard]] bool is_accepting();
    void let_in_next();
    void meet(Guest& guest, platform::Socket connection);
    [[nodiscard]] bool claim();
    void let_in(net::DataLink link);

    net::LinkListener& listener_;
    const net::LinkSetup setup_;
    const std::function<void(const std::string&)> on_event_;

    std::mutex mutex_;  // guards what follows, and every taking of a connection
    std::condition_variable changed_;
    State state_ = State::free;
    bool is_over_ = false;
    std::optional<net::DataLink> head_;
    std::list<Guest> guests_;

    std::thread thread_;
};

}  // namespace exomesh::runner
