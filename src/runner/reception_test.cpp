#include "runner/reception.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "platform/socket.h"
#include "runner/control.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using net::testing::Device;
using net::testing::patient;
using ::testing::HasSubstr;

constexpr std::uint64_t early_us_max = std::uint64_t{net::handshake_ms_max} * 1000 / 2;

// What people are told.
class Lines {
  public:
    void add(const std::string& text) {
        const std::scoped_lock lock(mutex_);
        lines_.push_back(text);
        changed_.notify_all();
    }
    // How many have these words; waits for so many.
    std::ptrdiff_t count(const std::string& words, std::ptrdiff_t wanted = 0) {
        std::unique_lock lock(mutex_);
        std::ptrdiff_t found = 0;
        changed_.wait_for(lock, std::chrono::seconds(20), [&] {
            found = std::ranges::count_if(
                lines_, [&](const std::string& line) { return line.contains(words); });
            return found >= wanted;
        });
        return found;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<std::string> lines_;
};

class ReceptionTest : public ::testing::Test {
  protected:
    ReceptionTest() : listener_(*net::LinkListener::listen("127.0.0.1", 0)) {
        reception_.emplace(
            listener_,
            control_setup(worker_.tls, ControlRole::worker,
                          {head_.identity.peer_id(), second_head_.identity.peer_id()}),
            [this](const std::string& text) { lines_.add(text); });
    }

    [[nodiscard]] Result<net::DataLink> connect(const Device& head) const {
        return net::DataLink::connect(
            "127.0.0.1", listener_.port(),
            control_setup(head.tls, ControlRole::head, {worker_.identity.peer_id()}), patient());
    }
    // A head that has been greeted or refused.
    net::DataLink call(MessageType expected) {
        auto link = connect(head_);
        EXO_ASSERT(link.has_value());
        const auto answer = link->receive(patient());
        EXPECT_TRUE(answer.has_value()) << answer.error().text();
        if (answer) {
            EXPECT_EQ(answer->type, frame_type(expected));
            if (expected == MessageType::failure) {
                EXPECT_THAT(decode_failure(answer->payload).message, HasSubstr("busy"));
            }
        }
        return *std::move(link);
    }
    platform::Socket stranger() {
        auto socket = platform::connect_socket("127.0.0.1", listener_.port(), patient());
        EXO_ASSERT(socket.has_value());
        return *std::move(socket);
    }
    // Of a session whose head is `head_`.
    [[nodiscard]] net::LinkSetup rank_setup(const Device& own, const Device& other,
                                            std::uint16_t rank) const {
        net::LinkSetup setup{.tls = own.tls,
                             .hello = {.rank = rank, .rank_count = 2, .plan_text = "a plan"},
                             .allowed_peers = {other.identity.peer_id()}};
        setup.hello.session_id.fill(std::byte{7});
        return setup;
    }

    Device worker_ = Device::create();
    Device head_ = Device::create();
    Device second_head_ = Device::create();
    Lines lines_;
    net::LinkListener listener_;
    std::optional<Reception> reception_;
};

TEST_F(ReceptionTest, lets_one_in_tells_others_and_is_free_again) {
    for (int round = 0; round < 3; ++round) {
        const net::DataLink first = call(MessageType::welcome);
        ASSERT_TRUE(reception_->wait_for_head(patient()).has_value());
        const net::DataLink second =
            call(MessageType::failure);  // whatever the first is about to do
        reception_->expect_ranks(rank_setup(worker_, head_, 1));
        reception_->turn_others_away();
        const net::DataLink third = call(MessageType::failure);
        EXPECT_FALSE(reception_->wait_for_head(net::Deadline::after_ms(1)).has_value());
        reception_->be_free();
    }
}

// Or two of them would be served at once.
TEST_F(ReceptionTest, is_freed_once_by_each_head) {
    std::optional<HeadVisit> visit(std::in_place, *reception_);
    const net::DataLink first = call(MessageType::welcome);
    ASSERT_TRUE(reception_->wait_for_head(patient()).has_value());
    visit->end();
    const net::DataLink second = call(MessageType::welcome);
    visit.reset();
    const net::DataLink third = call(MessageType::failure);
}

TEST_F(ReceptionTest, hands_on_ranks_and_shows_other_heads_that_it_is_busy) {
    const net::DataLink first = call(MessageType::welcome);
    ASSERT_TRUE(reception_->wait_for_head(patient()).has_value());
    reception_->expect_ranks(rank_setup(worker_, head_, 1));
    for (const Device& device : {head_, second_head_}) {
        const auto other_head = connect(device);
        ASSERT_FALSE(other_head.has_value());
        EXPECT_EQ(other_head.error().code, ErrorCode::unavailable);
        EXPECT_THAT(other_head.error().message, HasSubstr("busy with another head"));
    }
    const auto stranger = connect(Device::create());
    ASSERT_FALSE(stranger.has_value());
    EXPECT_EQ(stranger.error().code, ErrorCode::invalid_argument);
    EXPECT_FALSE(reception_->wait_for_rank(net::Deadline::after_ms(1)).has_value());
    const auto rank = net::DataLink::connect("127.0.0.1", listener_.port(),
                                             rank_setup(head_, worker_, 0), patient());
    ASSERT_TRUE(rank.has_value()) << rank.error().text();
    const auto taken = reception_->wait_for_rank(patient());
    ASSERT_TRUE(taken.has_value());
    EXPECT_EQ(taken->peer_rank(), 0);
}

TEST_F(ReceptionTest, hands_on_no_rank_of_an_earlier_session) {
    const net::DataLink first = call(MessageType::welcome);
    ASSERT_TRUE(reception_->wait_for_head(patient()).has_value());
    reception_->expect_ranks(rank_setup(worker_, head_, 1));
    platform::Socket late = stranger();
    const auto rank = net::DataLink::connect("127.0.0.1", listener_.port(),
                                             rank_setup(head_, worker_, 0), patient());
    ASSERT_TRUE(rank.has_value()) << rank.error().text();
    ASSERT_TRUE(reception_->wait_for_rank(patient()).has_value());  // who came before is taken
    reception_->be_free();
    reception_->expect_ranks(rank_setup(worker_, head_, 1));
    const auto link = net::DataLink::over_socket(std::move(late), net::LinkSide::connecting,
                                                 rank_setup(head_, worker_, 0), patient());
    EXPECT_TRUE(link.has_value()) << link.error().text();
    EXPECT_FALSE(reception_->wait_for_rank(net::Deadline::after_ms(200)).has_value());
}

TEST_F(ReceptionTest, is_held_up_by_no_stranger) {
    std::vector<platform::Socket> strangers;
    for (std::size_t i = 0; i < 3 * guest_count_max; ++i) strangers.push_back(stranger());
    const std::uint64_t begin_us = platform::monotonic_us();
    const net::DataLink head = call(MessageType::welcome);
    EXPECT_LT(platform::monotonic_us() - begin_us, early_us_max);
    EXPECT_TRUE(reception_->wait_for_head(patient()).has_value());
    EXPECT_GE(lines_.count("sent somebody away who was silent", 1), 1);
}

TEST_F(ReceptionTest, says_only_so_much_of_strangers) {
    for (std::uint32_t i = 0; i < 3 * told_count_max; ++i) stranger().close();
    const net::DataLink head = call(MessageType::welcome);
    const auto refused_count = lines_.count("refused a connection", told_count_max / 2);
    EXPECT_GE(refused_count, told_count_max / 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LE(lines_.count(""), 2 * told_count_max) << "a busy machine may need two periods";
}

TEST_F(ReceptionTest, waits_and_says_so_where_the_system_has_no_more_files) {
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(next, 0);
    ::close(next);
    // The head's own socket is the last one.
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(next) + 1;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    const auto waiting = platform::connect_socket("127.0.0.1", listener_.port(), patient());
    const auto told_count = lines_.count("cannot take a connection", 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto later_count = lines_.count("cannot take a connection");
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_TRUE(waiting.has_value());
    EXPECT_GE(told_count, 1);
    EXPECT_LE(later_count, 10) << "it does not pause";
    const net::DataLink head = call(MessageType::welcome);
}

TEST_F(ReceptionTest, ends_at_once_with_strangers_there) {
    const net::DataLink first = call(MessageType::welcome);
    const platform::Socket silent = stranger();
    const net::DataLink second = call(MessageType::failure);  // so the one before it was taken
    const std::uint64_t begin_us = platform::monotonic_us();
    reception_.reset();
    EXPECT_LT(platform::monotonic_us() - begin_us, early_us_max);
}

}  // namespace
}  // namespace exomesh::runner
