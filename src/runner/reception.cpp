#include "runner/reception.h"

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <tuple>
#include <utility>

#include "platform/descriptor.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t guest_look_ms = 25;
constexpr std::uint64_t farewell_ms_max = 500;

void tell_busy(net::DataLink& link) {
    const auto deadline = net::Deadline::after_ms(farewell_ms_max);
    const Error busy{ErrorCode::unavailable, "it is busy with another head.",
                     "Wait until that one is done, or use another worker."};
    const auto sent = link.send(frame_type(MessageType::failure), {encode_failure(busy)}, deadline);
    // Who closes with something unread takes back what the other has not read.
    while (sent && link.is_open() && !deadline.passed()) std::ignore = link.receive(deadline);
}

}  // namespace

struct Reception::Guest {
    platform::Descriptor descriptor;  // a second one, to interrupt with
    std::thread thread = {};
    bool has_left = false;
};

Reception::Reception(net::LinkListener& listener, net::LinkSetup setup,
                     std::function<void(const std::string&)> on_event)
    : listener_(listener),
      setup_(std::move(setup)),
      on_event_(std::move(on_event)),
      thread_([this] { run(); }) {}

Reception::~Reception() {
    {
        const std::scoped_lock lock(mutex_);
        is_over_ = true;
    }
    changed_.notify_all();
    thread_.join();
    for (const Guest& guest : guests_) ::shutdown(guest.descriptor.get(), SHUT_RDWR);
    for (Guest& guest : guests_) guest.thread.join();
}

std::optional<net::DataLink> Reception::wait_for_head(net::Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::microseconds(deadline.left_us()),
                      [this] { return head_.has_value(); });
    return std::exchange(head_, std::nullopt);
}

void Reception::turn_others_away() {
    {
        const std::scoped_lock lock(mutex_);
        state_ = State::busy;
    }
    changed_.notify_all();
}

void Reception::be_free() {
    {
        const std::scoped_lock lock(mutex_);
        state_ = State::free;
    }
    changed_.notify_all();
}

void Reception::run() {
    while (is_accepting()) {
        const auto is_there = listener_.wait(net::Deadline::after_ms(guest_look_ms));
        if (is_there && *is_there) let_in_next();
    }
}

// False when it is over.
bool Reception::is_accepting() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_over_ || state_ != State::linking; });
    return !is_over_;
}

void Reception::let_in_next() {
    const std::scoped_lock lock(mutex_);
    if (is_over_ || state_ == State::linking) return;  // it is a rank, not for us
    for (auto guest = guests_.begin(); guest != guests_.end();) {
        if (!guest->has_left) {
            ++guest;
            continue;
        }
        guest->thread.join();
        guest = guests_.erase(guest);
    }
    auto socket = listener_.take(net::Deadline::after_ms(0));
    if (!socket || guests_.size() >= guest_count_max) return;
    Guest& guest = guests_.emplace_back(platform::Descriptor(::dup(socket->descriptor())));
    guest.thread = std::thread([this, &guest, connection = *std::move(socket)]() mutable {
        meet(guest, std::move(connection));
    });
}

// A handshake, and what follows from it.
void Reception::meet(Guest& guest, platform::Socket connection) {
    auto link = net::DataLink::over_socket(std::move(connection), net::LinkSide::accepting, setup_,
                                           net::Deadline::after_ms(net::handshake_ms_max));
    if (!link) {
        on_event_("refused a connection: " + link.error().text());
    } else if (claim()) {
        let_in(*std::move(link));
    } else {
        on_event_("told " + link->peer_name() + " that another head is served");
        tell_busy(*link);
        link->close();
    }
    const std::scoped_lock lock(mutex_);
    guest.descriptor = platform::Descriptor();  // or the connection would stay open
    guest.has_left = true;
}

// Whether the worker is this guest's.
bool Reception::claim() {
    const std::scoped_lock lock(mutex_);
    if (state_ != State::free || is_over_) return false;
    state_ = State::linking;
    return true;
}

void Reception::let_in(net::DataLink link) {
    const auto sent =
        link.send(frame_type(MessageType::welcome), {}, net::Deadline::after_ms(farewell_ms_max));
    {
        const std::scoped_lock lock(mutex_);
        if (sent) {
            head_.emplace(std::move(link));
        } else {
            state_ = State::free;
        }
    }
    changed_.notify_all();
}

}  // namespace exomesh::runner
