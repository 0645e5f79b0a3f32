#include "net/testing/relay.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "net/testing/link_pair.h"

namespace exomesh::net::testing {
namespace {

constexpr int look_ms = 5;

bool pass(int from, int to, std::size_t bytes_max, const Meddle& meddle) {
    std::vector<std::byte> bytes(bytes_max);
    const ssize_t size = ::recv(from, bytes.data(), bytes.size(), 0);
    if (size <= 0) return false;
    bytes.resize(static_cast<std::size_t>(size));
    if (meddle) bytes = meddle(std::move(bytes));
    return bytes.empty() || ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
}

}  // namespace

Relay::Relay(Meddle left_to_right)
    : left_to_right_(std::move(left_to_right)),
      left_(make_sockets()),
      right_(make_sockets()),
      thread_([this] { run(); }) {}

Relay::~Relay() {
    cut();
    thread_.join();
}

void Relay::cut() {
    is_cut_ = true;
}

void Relay::run() {
    bool is_open = true;
    while (is_open && !is_cut_) {
        std::array<pollfd, 2> sockets = {pollfd{left_.second, POLLIN, 0},
                                         pollfd{right_.second, POLLIN, 0}};
        ::poll(sockets.data(), sockets.size(), look_ms);
        if (sockets[0].revents != 0)
            is_open = pass(left_.second, right_.second, pass_bytes_max_, left_to_right_);
        if (sockets[1].revents != 0 && is_open)
            is_open = pass(right_.second, left_.second, pass_bytes_max_, nullptr);
    }
    ::close(left_.second);
    ::close(right_.second);
}

}  // namespace exomesh::net::testing
