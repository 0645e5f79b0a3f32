// Workers against heads that err, lie, are silent or go, and heads against such workers.
#include "runner/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/assert.h"
#include "net/testing/link_pair.h"
#include "platform/clock.h"
#include "platform/socket.h"
#include "runner/cluster.h"
#include "runner/control.h"
#include "runner/device_survey.h"
#include "runner/links.h"
#include "runner/messages.h"
#include "runner/reception.h"
#include "runner/testing/load_request.h"
#include "runner/testing/logits_play.h"
#include "runner/testing/without_threads.h"
#include "runner/thread_runner_host.h"

namespace exomesh::runner {
namespace {

using engine::testing::tiny_architecture;
using net::testing::Device;
using net::testing::patient;
using ::testing::HasSubstr;
using testing::make_load_request;
using ::testing::StartsWith;
using testing::TemporaryModel;

constexpr std::uint64_t fault_us_max = 5'000'000;  // sanitizers on a busy machine; else about 2 s

// Receives until a message of this type comes; answers probes.
Result<std::vector<std::byte>> await(net::DataLink& link, MessageType type) {
    while (true) {
        EXO_TRY_ASSIGN(const net::Message message, link.receive(patient()));
        if (message.type == frame_type(MessageType::ping))
            EXO_TRY(link.send(frame_type(MessageType::pong), {}, patient()));
        if (message.type != frame_type(type)) continue;
        return std::vector<std::byte>(message.payload.begin(), message.payload.end());
    }
}

// The test is the head of one worker, which is rank 1.
class WorkerTest : public ::testing::Test {
  protected:
    WorkerTest()
        : model_(tiny_architecture("llama"), {}), head_(Device::create()), control_(call()) {}

    [[nodiscard]] LoadRequest request() const {
        LoadRequest out = make_load_request(model_, "tensor", 2);
        out.ranks[0].peer_id = head_.identity.peer_id().text();
        out.ranks[1].peer_id = workers_.addresses()[0].peer_id.text();
        out.ranks[1].port = workers_.addresses()[0].port;
        return out;
    }

    void says(net::DataLink& link, MessageType type, std::span<const std::byte> payload) {
        const auto sent = link.send(frame_type(type), {payload}, patient());
        ASSERT_TRUE(sent.has_value()) << sent.error().text();
    }
    void orders(const LoadRequest& order) {
        says(control_, MessageType::load, encode_load_request(order));
    }

    // Order, links and the worker's word that it is ready.
    void opens(Links& links) {
        orders(request());
        ASSERT_TRUE(await(control_, MessageType::progress).has_value());
        LoadRequest own = request();
        own.rank = 0;
        const auto opened = links.open(own, head_.tls, nullptr, patient());
        ASSERT_TRUE(opened.has_value()) << opened.error().text();
        const auto ready = await(control_, MessageType::ready);
        ASSERT_TRUE(ready.has_value()) << ready.error().text();
    }

    // What the worker tells the head, and how its session ended: the same.
    Error failure() {
        const auto payload = await(control_, MessageType::failure);
        EXPECT_TRUE(payload.has_value()) << payload.error().text();
        control_.close();
        const auto served = workers_.join(0);
        EXPECT_FALSE(served.has_value());
        if (!payload || served) return {};
        const Error told = decode_failure(*payload);
        EXPECT_EQ(told.message, served.error().message);
        return told;
    }

    TemporaryModel model_;
    Device head_;
    ThreadRunnerHost workers_;
    net::DataLink control_;

    // A further control link to the worker, which is free.
    net::DataLink dial() {
        const WorkerAddress& address = workers_.addresses()[0];
        const net::LinkSetup setup = control_setup(head_.tls, ControlRole::head, {address.peer_id});
        auto control = net::DataLink::connect(address.host, address.port, setup, patient());
        EXO_ASSERT(control.has_value());
        EXO_ASSERT(await(*control, MessageType::welcome).has_value());
        return *std::move(control);
    }

  private:
    net::DataLink call() {
        const auto started = workers_.start(1, head_.identity.peer_id());
        EXO_ASSERT(started.has_value());
        return dial();
    }
};

TEST_F(WorkerTest, says_what_its_device_can_do_and_is_free_again) {
    control_.close();
    std::ignore = workers_.join(0);
    ThreadRunnerHost workers;
    ASSERT_TRUE(workers.start(1, head_.identity.peer_id()).has_value());
    const auto survey =
        survey_worker(workers.addresses()[0], head_.tls, {.device = "cpu", .weight_type = "q8_0"});
    ASSERT_TRUE(survey.has_value()) << survey.error().text();
    EXPECT_EQ(survey->device.device, "cpu");
    EXPECT_LT(survey->link.latency_us, 100'000U);
    const auto served = workers.join(0);  // no session: it waits for one until it is stopped
    ASSERT_FALSE(served.has_value());
    EXPECT_EQ(served.error().code, ErrorCode::cancelled);
}

// Who serves one head, and is done then, serves the one that has asked before it decides.
TEST_F(WorkerTest, serves_the_head_that_only_asked_before) {
    says(control_, MessageType::survey, encode_survey_question({.device = "cpu"}));
    ASSERT_TRUE(await(control_, MessageType::survey).has_value());
    says(control_, MessageType::stop, {});
    control_.close();
    control_ = dial();
    Links links;
    opens(links);
    says(control_, MessageType::stop, {});
    control_.close();
    const auto served = workers_.join(0);
    EXPECT_TRUE(served.has_value()) << served.error().text();
}

TEST_F(WorkerTest, answers_one_survey_only) {
    says(control_, MessageType::survey, encode_survey_question({.device = "cpu"}));
    ASSERT_TRUE(await(control_, MessageType::survey).has_value());
    says(control_, MessageType::survey, encode_survey_question({.device = "cpu"}));
    EXPECT_THAT(failure().message, HasSubstr("asks for nothing known"));
}

// A self-test may come first, and takes minutes.
TEST_F(WorkerTest, says_that_it_is_at_it_before_it_says_what_its_device_can_do) {
    says(control_, MessageType::survey, encode_survey_question({.device = "cpu"}));
    const auto first = control_.receive(patient());
    ASSERT_TRUE(first.has_value()) << first.error().text();
    EXPECT_EQ(first->type, frame_type(MessageType::progress));
    EXPECT_TRUE(await(control_, MessageType::survey).has_value());
}

TEST_F(WorkerTest, says_that_it_lacks_a_device) {
    says(control_, MessageType::survey, encode_survey_question({.device = "vulkan77"}));
    EXPECT_THAT(failure().message, HasSubstr("vulkan77"));
}

TEST_F(WorkerTest, refuses_another_model) {
    LoadRequest order = request();
    order.model_checksum = "00";
    orders(order);
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::invalid_argument);
    EXPECT_THAT(error.message, HasSubstr("is another model here than at the head"));
}

TEST_F(WorkerTest, refuses_a_model_it_does_not_have) {
    LoadRequest order = request();
    order.model_path = "/nonexistent.gguf";
    orders(order);
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::not_found);
    EXPECT_THAT(error.message, HasSubstr("/nonexistent.gguf"));
}

TEST_F(WorkerTest, refuses_a_plan_that_cannot_be) {
    LoadRequest order = request();
    order.ranks[1].slice.query_heads.first += 100;
    orders(order);
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::invalid_argument);
    EXPECT_THAT(error.message, HasSubstr("rank 1 has attention heads that cannot be cut out"));
}

TEST_F(WorkerTest, refuses_to_be_the_head) {
    LoadRequest order = request();
    order.rank = 0;
    orders(order);
    EXPECT_THAT(failure().message, HasSubstr("is the head itself"));
}

TEST_F(WorkerTest, refuses_garbage) {
    says(control_, MessageType::load, std::vector<std::byte>(1000, std::byte{'x'}));
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, HasSubstr("the load request is no JSON"));
}

TEST_F(WorkerTest, wants_an_order_first) {
    says(control_, MessageType::pong, {});
    EXPECT_THAT(failure().message, HasSubstr("asks for nothing known"));
}

TEST_F(WorkerTest, says_that_the_system_gives_no_thread_to_compute) {
    const testing::WithoutThreads none;
    orders(request());
    const Error error = failure();
    EXPECT_EQ(error.code, ErrorCode::resource_exhausted);
    EXPECT_THAT(error.message, HasSubstr("gives no thread"));
}

// It may flood it with small messages, which takes as long as it likes.
TEST_F(WorkerTest, ends_with_a_head_that_only_probes) {
    for (int i = 0; i < 1000; ++i) {
        if (!control_.send(frame_type(MessageType::ping), {}, patient())) break;
        const auto answer = control_.receive(patient());
        if (!answer || answer->type != frame_type(MessageType::pong)) break;
    }
    control_.close();
    const auto served = workers_.join(0);
    ASSERT_FALSE(served.has_value());
    EXPECT_THAT(served.error().message, HasSubstr("probes the link without end"));
}

TEST_F(WorkerTest, is_linked_beside_strangers_who_say_nothing) {
    orders(request());
    ASSERT_TRUE(await(control_, MessageType::progress).has_value());
    std::vector<platform::Socket> strangers;
    for (int i = 0; i < 12; ++i) {
        auto stranger =
            platform::connect_socket("127.0.0.1", workers_.addresses()[0].port, patient());
        ASSERT_TRUE(stranger.has_value());
        strangers.push_back(*std::move(stranger));
    }
    LoadRequest own = request();
    own.rank = 0;
    Links links;
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto opened = links.open(own, head_.tls, nullptr, patient());
    ASSERT_TRUE(opened.has_value()) << opened.error().text();
    EXPECT_LT(platform::monotonic_us() - begin_us, net::handshake_ms_max * 1000 / 2);
    EXPECT_TRUE(await(control_, MessageType::ready).has_value());
}

TEST_F(WorkerTest, tells_another_head_that_it_is_busy_before_an_order_and_after_it) {
    const WorkerAddress& address = workers_.addresses()[0];
    const auto call = [&]() -> Result<void> {
        EXO_TRY_ASSIGN(
            net::DataLink control,
            net::DataLink::connect(address.host, address.port,
                                   control_setup(head_.tls, ControlRole::head, {address.peer_id}),
                                   net::Deadline::after_ms(net::handshake_ms_max)));
        return await_welcome(control, net::Deadline::after_ms(net::handshake_ms_max));
    };
    for (int round = 0; round < 2; ++round) {
        const auto told = call();
        ASSERT_FALSE(told.has_value());
        EXPECT_EQ(told.error().code, ErrorCode::unavailable);
        EXPECT_THAT(told.error().message, HasSubstr("busy with another head"));
        if (round > 0) break;
        orders(request());
        ASSERT_TRUE(await(control_, MessageType::progress).has_value());
    }
}

// Who has no order yet would take it for a stranger.
TEST_F(WorkerTest, dials_other_ranks_when_it_is_told_to) {
    auto other = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(other.has_value());
    LoadRequest order = make_load_request(model_, "tensor", 3);
    for (RankPlan& rank : order.ranks) rank.peer_id = head_.identity.peer_id().text();
    order.ranks[2].port = other->port();
    orders(order);
    ASSERT_TRUE(await(control_, MessageType::progress).has_value());
    EXPECT_EQ(other->wait(net::Deadline::after_ms(300)), false);
    says(control_, MessageType::dial, {});
    EXPECT_EQ(other->wait(patient()), true);
}

TEST_F(WorkerTest, ends_when_its_head_goes_before_all_ranks_are_linked) {
    orders(request());
    const std::uint64_t begin_us = platform::monotonic_us();
    control_.close();
    const auto served = workers_.join(0);
    EXPECT_LT(platform::monotonic_us() - begin_us, fault_us_max);
    ASSERT_FALSE(served.has_value());
    EXPECT_EQ(served.error().code, ErrorCode::unavailable);
}

TEST_F(WorkerTest, ends_when_its_head_is_silent) {
    orders(request());
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto served = workers_.join(0);
    EXPECT_LT(platform::monotonic_us() - begin_us, fault_us_max);
    ASSERT_FALSE(served.has_value());
    EXPECT_EQ(served.error().code, ErrorCode::unavailable);
    EXPECT_THAT(served.error().message, HasSubstr("silent for 800 ms"));
}

// Orders that would read or write what is not there.
class WorkerOrders : public WorkerTest {
  protected:
    void refuses(MessageType type, const std::vector<std::byte>& payload,
                 const std::string& words) {
        Links links;
        opens(links);
        says(links.at(1), type, payload);
        const auto told = await(links.at(1), MessageType::failure);
        ASSERT_TRUE(told.has_value()) << told.error().text();
        EXPECT_THAT(decode_failure(*told).message, HasSubstr(words));
        const Error error = failure();
        EXPECT_EQ(error.code, ErrorCode::corrupt_data);
        EXPECT_THAT(error.message, HasSubstr(words));
    }
    void refuses_step(std::uint32_t number, std::uint32_t slot, std::uint32_t first_position,
                      const std::vector<model::TokenId>& tokens, const std::string& words) {
        const std::vector<engine::SlotTokens> batch = {
            {.slot = slot, .first_position = first_position, .tokens = tokens}};
        std::vector<std::byte> payload;
        encode_step(number, batch, payload);
        refuses(MessageType::step, payload, words);
    }
};

TEST_F(WorkerOrders, of_a_step_out_of_order) {
    refuses_step(1, 0, 0, {1}, "skipped a step");
}
TEST_F(WorkerOrders, with_a_slot_that_is_not_there) {
    refuses_step(0, testing::play_slot_count, 0, {1}, "beyond the context");
}
TEST_F(WorkerOrders, beyond_the_context) {
    refuses_step(0, 0, 255, {1, 2}, "beyond the context");
}
TEST_F(WorkerOrders, with_a_token_that_is_not_there) {
    const auto beyond = static_cast<model::TokenId>(model_.file().architecture.vocabulary_size);
    refuses_step(0, 0, 0, {1, beyond}, "a token the model lacks");
}
TEST_F(WorkerOrders, to_adjust_a_token_that_is_not_there) {
    const std::vector<model::TokenId> tokens = {1};
    const std::vector<engine::LogitAdjustment> adjustments = {
        {.token = static_cast<model::TokenId>(model_.file().architecture.vocabulary_size)}};
    const std::vector<engine::SlotTokens> batch = {
        {.slot = 0,
         .tokens = tokens,
         .needs = {.candidate_count = 1, .normalizer = false, .adjustments = adjustments}}};
    std::vector<std::byte> payload;
    encode_step(0, batch, payload);
    refuses(MessageType::step, payload, "a token the model lacks");
}
TEST_F(WorkerOrders, to_copy_what_is_not_there) {
    const auto bytes = encode_copy_slot({.from_slot = 0, .to_slot = 200, .length = 1});
    refuses(MessageType::copy_slot, {bytes.begin(), bytes.end()}, "slots that are not there");
}
TEST_F(WorkerOrders, that_are_cut_off) {
    refuses(MessageType::step, std::vector<std::byte>(7), "the step is cut off");
}
TEST_F(WorkerOrders, that_are_none) {
    refuses(MessageType::output, {}, "something else than an order");
}

// The test is rank 1, a real head opens a cluster with it.
class HeadTest : public ::testing::Test {
  protected:
    HeadTest() : model_(tiny_architecture("llama"), {}), head_(Device::create()) {}

    [[nodiscard]] Result<engine::OpenedShard> open(const net::Identity& head,
                                                   const WorkerAddress& worker) const {
        return open_cluster(model_.file(), testing::play_options(model_),
                            {.identity = head,
                             .workers = {worker},
                             .split = {},
                             .shares = {},
                             .devices = {},
                             .wire = WireType::f32,
                             .spin_us = 0});
    }

    // The error of opening a cluster, in time, with this behind the control link.
    Error opening_fails(const std::function<void(net::DataLink&)>& behave) {
        const std::uint64_t begin_us = platform::monotonic_us();
        auto listener = net::LinkListener::listen("127.0.0.1", 0);
        EXO_ASSERT(listener.has_value());
        std::atomic<bool> is_over = false;
        std::thread worker([&] {
            auto control = accept_control(*listener);
            ASSERT_TRUE(control.has_value()) << control.error().text();
            behave(*control);
            while (!is_over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        });
        const auto opened = open(head_.identity, address(listener->port()));
        is_over = true;
        worker.join();
        EXPECT_LT(platform::monotonic_us() - begin_us, fault_us_max);
        EXPECT_FALSE(opened.has_value());
        return opened ? Error{} : opened.error();
    }
    [[nodiscard]] Result<net::DataLink> accept_control(net::LinkListener& listener) const {
        const net::LinkSetup setup =
            control_setup(worker_.tls, ControlRole::worker, {head_.identity.peer_id()});
        EXO_TRY_ASSIGN(net::DataLink control, listener.accept(setup, patient()));
        EXO_TRY(control.send(frame_type(MessageType::welcome), {}, patient()));
        return control;
    }
    // As a worker links up that was let in.
    struct Linked {
        std::unique_ptr<Reception> reception;
        Links links;
    };
    [[nodiscard]] std::unique_ptr<Linked> link_up(net::DataLink& control,
                                                  net::LinkListener& listener) const {
        const auto payload = await(control, MessageType::load);
        EXO_ASSERT(payload.has_value());
        const auto order = decode_load_request(*payload);
        EXO_ASSERT(order.has_value());
        auto setup = setup_for_lower(*order, worker_.tls);
        EXO_ASSERT(setup.has_value());
        auto linked = std::make_unique<Linked>();
        linked->reception = std::make_unique<Reception>(
            listener, control_setup(worker_.tls, ControlRole::worker, {head_.identity.peer_id()}),
            [](const std::string&) {});
        linked->reception->expect_ranks(*std::move(setup));
        EXO_ASSERT(control.send(frame_type(MessageType::progress), {}, patient()).has_value());
        EXO_ASSERT(linked->links.open(*order, worker_.tls, linked->reception.get(), patient())
                       .has_value());
        EXO_ASSERT(control
                       .send(frame_type(MessageType::ready),
                             {encode_ready_report({.device = "cpu"})}, patient())
                       .has_value());
        return linked;
    }
    [[nodiscard]] WorkerAddress address(std::uint16_t port) const {
        return {.host = "127.0.0.1", .port = port, .peer_id = worker_.identity.peer_id()};
    }

    TemporaryModel model_;
    Device head_;
    Device worker_ = Device::create();
};

TEST_F(HeadTest, names_a_worker_that_says_nothing) {
    const Error error = opening_fails([](net::DataLink&) {});
    EXPECT_EQ(error.code, ErrorCode::unavailable);
    EXPECT_THAT(error.message, StartsWith("rank 1 ("));
    EXPECT_THAT(error.message, HasSubstr("silent for 800 ms"));
}

TEST_F(HeadTest, waits_for_a_worker_that_is_at_its_survey) {
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    const SurveyQuestion question{.device = "cuda0",
                                  .weight_type = "q4_K",
                                  .self_test_groups = {"operations", "products of q4_K"},
                                  .thread_count = 3};
    const DeviceSurvey answer{
        .processor = "p", .device = "cuda0", .memory_bytes = 1, .read_bytes_per_s = 1e9};
    std::thread worker([&] {
        auto control = accept_control(*listener);
        ASSERT_TRUE(control.has_value()) << control.error().text();
        const auto payload = await(*control, MessageType::survey);
        ASSERT_TRUE(payload.has_value()) << payload.error().text();
        EXPECT_EQ(decode_survey_question(*payload), question);
        for (int i = 0; i < 3; ++i) {
            std::ignore = control->send(frame_type(MessageType::progress),
                                        {std::vector<std::byte>(sizeof(float))}, patient());
        }
        std::ignore =
            control->send(frame_type(MessageType::survey), {encode_survey(answer)}, patient());
        std::ignore = await(*control, MessageType::stop);
    });
    const auto survey = survey_worker(address(listener->port()), head_.tls, question);
    worker.join();
    ASSERT_TRUE(survey.has_value()) << survey.error().text();
    EXPECT_EQ(survey->device, answer);
}

TEST_F(HeadTest, names_a_worker_that_sends_garbage) {
    const Error error = opening_fails([](net::DataLink& control) {
        const std::vector<std::byte> garbage(100, std::byte{0xff});
        std::ignore = control.send(frame_type(MessageType::ready), {garbage}, patient());
    });
    EXPECT_EQ(error.code, ErrorCode::corrupt_data);
    EXPECT_THAT(error.message, StartsWith("rank 1 ("));
}

TEST_F(HeadTest, names_a_worker_that_goes) {
    const Error error = opening_fails([](net::DataLink& control) {
        std::ignore = await(control, MessageType::load);
        control.close();
    });
    EXPECT_EQ(error.code, ErrorCode::unavailable);
    EXPECT_THAT(error.message, StartsWith("rank 1 ("));
}

// To its control link it is rank 1.
TEST_F(HeadTest, names_the_second_worker_where_it_never_welcomes) {
    ThreadRunnerHost workers;
    ASSERT_TRUE(workers.start(1, head_.identity.peer_id()).has_value());
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::thread worker([&] {
        auto control = listener->accept(
            control_setup(worker_.tls, ControlRole::worker, {head_.identity.peer_id()}), patient());
        ASSERT_TRUE(control.has_value()) << control.error().text();
        std::ignore = control->receive(patient());  // until it closes
    });
    const auto opened =
        open_cluster(model_.file(), testing::play_options(model_),
                     {.identity = head_.identity,
                      .workers = {workers.addresses()[0], address(listener->port())},
                      .split = {},
                      .shares = {},
                      .devices = {}});
    worker.join();
    ASSERT_FALSE(opened.has_value());
    EXPECT_THAT(opened.error().message, StartsWith("rank 2 ("));
    EXPECT_THAT(opened.error().message, Not(HasSubstr("rank 1")));
    EXPECT_THAT(opened.error().message, HasSubstr("no message came in time"));
}

// Its session before may end only now.
TEST_F(HeadTest, asks_a_busy_worker_again) {
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    const net::LinkSetup setup =
        control_setup(worker_.tls, ControlRole::worker, {head_.identity.peer_id()});
    const auto is_busy = [&] {
        auto control = listener->accept(setup, patient());
        ASSERT_TRUE(control.has_value()) << control.error().text();
        tell_failure(*control, busy_worker(), patient());
    };
    const auto fails_otherwise = [&] {
        auto control = accept_control(*listener);
        ASSERT_TRUE(control.has_value()) << control.error().text();
        tell_failure(*control, {ErrorCode::internal, "it cannot.", ""}, patient());
    };
    std::thread worker([&] {
        for (int i = 0; i < 2; ++i) {
            is_busy();
            is_busy();
            fails_otherwise();
        }
    });
    const WorkerAddress here = address(listener->port());
    const auto opened = open(head_.identity, here);
    const auto survey = survey_worker(here, head_.tls, {.device = "cpu"});
    worker.join();
    ASSERT_FALSE(opened.has_value());
    EXPECT_THAT(opened.error().message, Not(HasSubstr("busy")));
    ASSERT_FALSE(survey.has_value());
    EXPECT_THAT(survey.error().message, Not(HasSubstr("busy")));
}

// Who surveys knows its rank, and names it.
TEST_F(HeadTest, surveys_without_a_name_for_the_worker) {
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::thread worker([&] {
        auto control = accept_control(*listener);
        ASSERT_TRUE(control.has_value()) << control.error().text();
        std::ignore = await(*control, MessageType::survey);
        control->close();
    });
    const auto survey = survey_worker(address(listener->port()), head_.tls, {.device = "cpu"});
    worker.join();
    ASSERT_FALSE(survey.has_value());
    EXPECT_EQ(survey.error().code, ErrorCode::unavailable);
    EXPECT_THAT(survey.error().message, Not(HasSubstr("rank 1")));
}

TEST_F(HeadTest, names_a_peer_that_speaks_something_else) {
    auto listener = platform::ListeningSocket::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::thread worker([&] {
        const auto socket = listener->accept(patient());
        ASSERT_TRUE(socket.has_value());
        const std::string text = "220 mail.example ESMTP\r\n";
        std::ignore = socket->send(std::as_bytes(std::span(text)));
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    });
    const auto opened = open(head_.identity, address(listener->port()));
    worker.join();
    ASSERT_FALSE(opened.has_value());
    EXPECT_THAT(opened.error().message, StartsWith("rank 1: "));
}

// Its heartbeat goes on, its data link is cut amid a step.
TEST_F(HeadTest, names_a_worker_whose_data_link_breaks) {
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::atomic<bool> is_over = false;
    std::thread worker([&] {
        auto control = accept_control(*listener);
        ASSERT_TRUE(control.has_value()) << control.error().text();
        const auto linked = link_up(*control, *listener);
        ASSERT_TRUE(await(linked->links.at(0), MessageType::step).has_value());
        linked->links.close();
        while (!is_over) {
            std::ignore = control->send(frame_type(MessageType::pong), {}, patient());
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
    });
    {
        const auto opened = open(head_.identity, address(listener->port()));
        EXPECT_TRUE(opened.has_value()) << opened.error().text();
        const std::uint64_t begin_us = platform::monotonic_us();
        if (opened) {
            const auto played = testing::play(*opened->shard);
            EXPECT_LT(platform::monotonic_us() - begin_us, fault_us_max);
            EXPECT_FALSE(played.has_value());
            EXPECT_THAT(played ? "" : played.error().message, HasSubstr("rank 1 ("));
        }
        is_over = true;
    }
    worker.join();
}

// Output of a step that was asked for early, to make room, and did not come.
TEST_F(HeadTest, gets_no_rows_of_a_step_whose_output_is_lost) {
    model::Architecture wide = tiny_architecture("llama");
    wide.vocabulary_size = 200'000;
    const TemporaryModel model(wide, {.weight_type = model::TensorType::q8_0});
    constexpr std::uint32_t row_count = 45;  // of two steps they are too many to be kept
    auto listener = net::LinkListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener.has_value());
    std::atomic<bool> is_over = false;
    std::thread worker([&] {
        auto control = accept_control(*listener);
        ASSERT_TRUE(control.has_value()) << control.error().text();
        const auto linked = link_up(*control, *listener);
        std::ignore = linked->links.at(0).send(
            frame_type(MessageType::failure),
            {encode_failure({ErrorCode::internal, "it cannot.", ""})}, patient());
        while (!is_over) {
            std::ignore = control->send(frame_type(MessageType::progress), {}, patient());
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
    });
    {
        const ClusterOptions options{.identity = head_.identity,
                                     .workers = {address(listener->port())},
                                     .split = parse_split("pipeline").value(),
                                     .shares = {},
                                     .devices = {}};
        engine::EngineOptions engine_options = testing::play_options(model);
        engine_options.chunk_length = 64;
        const auto opened = open_cluster(model.file(), engine_options, options);
        ASSERT_TRUE(opened.has_value()) << opened.error().text();
        const std::vector<model::TokenId> tokens(row_count, 1);
        const auto batch = [&](std::uint32_t slot) {
            return std::vector<engine::SlotTokens>{
                {.slot = slot, .tokens = tokens, .outputs = engine::OutputRows::all}};
        };
        const auto first = batch(0);
        const auto second = batch(1);
        ASSERT_TRUE(opened->shard->start(first).has_value());
        EXPECT_FALSE(opened->shard->start(second).has_value());
        EXPECT_FALSE(opened->shard->finish().has_value()) << "a part of the rows is no output";
    }
    is_over = true;
    worker.join();
}

TEST_F(HeadTest, refuses_more_slots_than_a_message_holds_rows_of) {
    model::Architecture wide = tiny_architecture("llama");
    wide.vocabulary_size = 200'000;
    const TemporaryModel model(wide, {.weight_type = model::TensorType::q8_0});
    engine::EngineOptions options = testing::play_options(model);
    options.slot_count = 100;
    const auto opened = open_cluster(model.file(), options,
                                     {.identity = head_.identity,
                                      .workers = {address(1)},
                                      .split = parse_split("pipeline").value(),
                                      .shares = {},
                                      .devices = {}});
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(opened.error().text(), HasSubstr("--slots 83"));
}

TEST_F(HeadTest, refuses_a_chunk_whose_states_no_message_holds) {
    model::Architecture wide = tiny_architecture("llama");
    wide.context_length = 8192;
    wide.embedding_length = 4096;
    const TemporaryModel model(wide, {.weight_type = model::TensorType::q8_0});
    engine::EngineOptions options = testing::play_options(model);
    options.context_length = 8192;
    options.chunk_length = 8192;
    for (const char* split : {"tensor", "pipeline"}) {
        const auto opened = open_cluster(model.file(), options,
                                         {.identity = head_.identity,
                                          .workers = {address(1)},
                                          .split = parse_split(split).value(),
                                          .shares = {},
                                          .devices = {},
                                          .wire = WireType::f32});
        ASSERT_FALSE(opened.has_value());
        EXPECT_EQ(opened.error().code, ErrorCode::invalid_argument);
        EXPECT_THAT(opened.error().text(), HasSubstr("--chunk 4096"));
    }
}

TEST_F(HeadTest, that_is_a_stranger_gets_no_worker) {
    ThreadRunnerHost workers;
    ASSERT_TRUE(workers.start(1, head_.identity.peer_id()).has_value());
    const Device stranger = Device::create();
    const std::uint64_t begin_us = platform::monotonic_us();
    const auto refused = open(stranger.identity, workers.addresses()[0]);
    EXPECT_LT(platform::monotonic_us() - begin_us, fault_us_max);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
    EXPECT_THAT(refused.error().message, HasSubstr("not on its list of allowed peers"));
    {
        const auto opened = open(head_.identity, workers.addresses()[0]);
        EXPECT_TRUE(opened.has_value()) << opened.error().text();
    }
    EXPECT_TRUE(workers.join(0).has_value());
}

TEST_F(HeadTest, names_a_rank_without_the_device_it_is_to_use) {
    ThreadRunnerHost workers;
    ASSERT_TRUE(workers.start(1, head_.identity.peer_id()).has_value());
    const auto opened = open_cluster(model_.file(), testing::play_options(model_),
                                     {.identity = head_.identity,
                                      .workers = workers.addresses(),
                                      .split = {},
                                      .shares = {},
                                      .devices = {"cpu", "no-such-device"},
                                      .wire = WireType::f32,
                                      .spin_us = 0});
    ASSERT_FALSE(opened.has_value());
    EXPECT_THAT(opened.error().message, StartsWith("rank 1 ("));
    EXPECT_THAT(opened.error().message, HasSubstr("no-such-device"));
}

}  // namespace
}  // namespace exomesh::runner
