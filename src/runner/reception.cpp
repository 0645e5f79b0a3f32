#include "runner/reception.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <tuple>
#include <utility>

#include "platform/descriptor.h"
#include "runner/control.h"
#include "runner/messages.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t guest_look_ms = 25;
constexpr std::uint64_t farewell_ms_max = 500;
constexpr std::uint64_t out_of_means_ms = 100;  // what the system lacks now, it may have then

}  // namespace

struct Reception::Guest {
    platform::Descriptor descriptor;  // a second one, to interrupt with
    std::optional<net::LinkSetup> rank_setup;
    std::uint64_t session = 0;
    std::thread thread = {};
    bool is_known = false;      // the handshake is over
    bool is_sent_away = false;  // before it was
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
    {
        // A guest that leaves closes its descriptor: the number may be somebody else's then.
        const std::scoped_lock lock(mutex_);
        for (const Guest& guest : guests_) ::shutdown(guest.descriptor.get(), SHUT_RDWR);
    }
    for (Guest& guest : guests_) guest.thread.join();
}

std::optional<net::DataLink> Reception::wait_for_head(net::Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::microseconds(deadline.left_us()),
                      [this] { return head_.has_value(); });
    return std::exchange(head_, std::nullopt);
}

void Reception::expect_ranks(net::LinkSetup setup) {
    // Other heads, or they would be told that they are strangers.
    setup.allowed_peers.insert(setup.allowed_peers.end(), setup_.allowed_peers.begin(),
                               setup_.allowed_peers.end());
    const std::scoped_lock lock(mutex_);
    rank_setup_.emplace(std::move(setup));
    ++session_;
    ranks_.clear();
    refusal_.clear();
}

std::optional<net::DataLink> Reception::wait_for_rank(net::Deadline deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::microseconds(deadline.left_us()),
                      [this] { return !ranks_.empty(); });
    if (ranks_.empty()) return std::nullopt;
    std::optional<net::DataLink> rank(std::move(ranks_.front()));
    ranks_.pop_front();
    return rank;
}

std::string Reception::last_refusal() {
    const std::scoped_lock lock(mutex_);
    return refusal_;
}

void Reception::turn_others_away() {
    const std::scoped_lock lock(mutex_);
    rank_setup_.reset();
    ranks_.clear();
}

void Reception::be_free() {
    const std::scoped_lock lock(mutex_);
    rank_setup_.reset();
    ranks_.clear();
    is_taken_ = false;
}

void Reception::run() {
    while (true) {
        {
            const std::scoped_lock lock(mutex_);
            if (is_over_) return;
        }
        const auto is_there = listener_.wait(net::Deadline::after_ms(guest_look_ms));
        if (is_there && *is_there) take_next();
        if (is_there) continue;
        tell("cannot wait for connections: " + is_there.error().text());
        if (!pause()) return;
    }
}

bool Reception::pause() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(out_of_means_ms),
                      [this] { return is_over_; });
    return !is_over_;
}

void Reception::take_next() {
    auto connection = listener_.take(net::Deadline::after_ms(0));
    if (!connection && connection.error().code == ErrorCode::unavailable) return;  // gone again
    if (connection && !make_room()) {
        return tell("sent somebody away: too many heads come at once");
    }
    const Result<void> received =
        connection ? receive(*std::move(connection)) : std::unexpected(connection.error());
    if (received) return;
    tell("cannot take a connection: " + received.error().text());
    std::ignore = pause();
}

Result<void> Reception::receive(platform::Socket connection) {
    platform::Descriptor second(::dup(connection.descriptor()));
    if (second.get() < 0) {
        return fail(ErrorCode::io, "the system gives no more files to this program.");
    }
    const std::scoped_lock lock(mutex_);
    Guest& guest = guests_.emplace_back(std::move(second), rank_setup_, session_);
    try {
        guest.thread = std::thread([this, &guest, taken = std::move(connection)]() mutable {
            meet(guest, std::move(taken));
        });
    } catch (const std::system_error& error) {  // it would end the process
        guests_.pop_back();
        return fail(ErrorCode::io, std::string("the system gives no thread: ") + error.what());
    }
    return {};
}

bool Reception::make_room() {
    std::list<Guest> leaving;
    {
        const std::scoped_lock lock(mutex_);
        for (auto guest = guests_.begin(); guest != guests_.end();) {
            const auto next = std::next(guest);
            if (guest->has_left) leaving.splice(leaving.end(), guests_, guest);
            guest = next;
        }
        if (guests_.size() >= guest_count_max) {
            const auto silent = std::ranges::find(guests_, false, &Guest::is_known);
            if (silent == guests_.end()) return false;
            silent->is_sent_away = true;
            ::shutdown(silent->descriptor.get(), SHUT_RDWR);
            leaving.splice(leaving.end(), guests_, silent);
        }
    }
    // Without the mutex: they need it to leave.
    for (Guest& guest : leaving) guest.thread.join();
    return true;
}

// A handshake, and what follows from it.
void Reception::meet(Guest& guest, platform::Socket connection) {
    auto link = net::DataLink::over_socket(std::move(connection), net::LinkSide::accepting,
                                           guest.rank_setup.value_or(setup_),
                                           net::Deadline::after_ms(net::handshake_ms_max));
    {
        const std::scoped_lock lock(mutex_);
        guest.is_known = true;
    }
    if (!link) {
        refuse(guest, link.error());
    } else if (guest.rank_setup) {
        hand_on(guest.session, *std::move(link));
    } else if (claim()) {
        let_in(*std::move(link));
    } else {
        tell("told " + link->peer_name() + " that another head is served");
        tell_failure(*link, busy_worker(), net::Deadline::after_ms(farewell_ms_max));
        link->close();
    }
    const std::scoped_lock lock(mutex_);
    guest.descriptor = platform::Descriptor();  // or the connection would stay open
    guest.has_left = true;
}

void Reception::refuse(const Guest& guest, const Error& error) {
    bool is_sent_away = false;
    {
        const std::scoped_lock lock(mutex_);
        is_sent_away = guest.is_sent_away;
        if (guest.rank_setup && guest.session == session_ && !is_sent_away) {
            refusal_ = error.message;
        }
    }
    tell(is_sent_away ? "sent somebody away who was silent while others came"
                      : "refused a connection: " + error.text());
}

// Whether the worker is this guest's.
bool Reception::claim() {
    const std::scoped_lock lock(mutex_);
    if (is_taken_ || is_over_) return false;
    is_taken_ = true;
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
            is_taken_ = false;
        }
    }
    changed_.notify_all();
}

void Reception::hand_on(std::uint64_t session, net::DataLink link) {
    {
        const std::scoped_lock lock(mutex_);
        if (!rank_setup_ || session != session_ || ranks_.size() >= rank_count_max) return;
        ranks_.push_back(std::move(link));
    }
    changed_.notify_all();
}

void Reception::tell(const std::string& text) {
    std::string untold;
    {
        const std::scoped_lock lock(tell_mutex_);
        if (tell_again_at_.passed()) {
            tell_again_at_ = net::Deadline::after_ms(told_ms);
            told_count_ = 0;
        }
        if (told_count_ == told_count_max) {
            ++untold_count_;
            return;
        }
        ++told_count_;
        if (untold_count_ > 0) untold = " (and " + std::to_string(untold_count_) + " such before)";
        untold_count_ = 0;
    }
    on_event_(text + untold);
}

}  // namespace exomesh::runner
