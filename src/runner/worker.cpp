#include "runner/worker.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <format>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "device/device.h"
#include "engine/model_file.h"
#include "platform/clock.h"
#include "platform/page_faults.h"
#include "platform/trace.h"
#include "runner/compute_watch.h"
#include "runner/control.h"
#include "runner/device_survey.h"
#include "runner/link_meter.h"
#include "runner/link_probe.h"
#include "runner/link_survey.h"
#include "runner/links.h"
#include "runner/member.h"
#include "runner/model_content.h"
#include "runner/model_search.h"
#include "runner/output_rows.h"
#include "runner/plan_check.h"
#include "runner/reception.h"
#include "runner/worker_recording.h"

namespace exomesh::runner {

namespace {

using platform::SpanKind;
using platform::TraceScope;

constexpr std::uint64_t stop_look_ms = 100;  // how late stop() is noticed without a session
constexpr std::uint64_t load_request_ms_max = 30'000;  // other workers are connected and probed
constexpr std::uint64_t links_ms_max = 60'000;
constexpr std::uint64_t order_look_ms = 2;
constexpr std::uint64_t loading_look_ms = 20;
constexpr std::uint64_t idle_ms_max = 24ULL * 3600 * 1000;  // the heartbeat notices a dead head
constexpr std::uint64_t step_ms_max = 600'000;
constexpr std::uint64_t end_ms_max = 30'000;  // of a session that was told to end
constexpr int last_words_max = 64;            // of a head, before its goodbye

// The computing half of a session, on a thread of its own.
class Session {
  public:
    Session(const LoadRequest& request, const net::TlsContext& tls, Reception& reception,
            const WorkerOptions& options)
        : request_(request),
          tls_(tls),
          reception_(reception),
          options_(options),
          recording_(request.recording) {}

    void run() {
        recording_.begin();
        try {
            result_ = compute();
        } catch (const std::bad_alloc&) {
            result_ = fail(ErrorCode::resource_exhausted, "it has no memory left.");
        } catch (const std::exception& exception) {  // it would end the process here
            result_ = fail(ErrorCode::internal, std::string("it failed with ") + exception.what());
        }
        // A device that fails while a sum travels leaves links amid a message.
        if (!result_ && links_.rank_count() > 0 && links_.has(0) && !links_.at(0).is_sending()) {
            std::ignore = links_.at(0).send(frame_type(MessageType::failure),
                                            {encode_failure(result_.error())},
                                            net::Deadline::after_ms(heartbeat_ms));
        }
        ended_ = true;
    }

    void interrupt() {
        interrupted_ = true;
        links_.interrupt();
    }
    // The other ranks expect this one.
    void let_dial() { may_dial_ = true; }
    [[nodiscard]] bool has_ended() const { return ended_; }
    // No rank is expected any more.
    [[nodiscard]] bool is_linked() const { return linked_; }
    [[nodiscard]] bool is_ready() const { return ready_; }
    [[nodiscard]] double progress() const { return progress_; }
    // After is_ready().
    [[nodiscard]] const ReadyReport& report() const { return report_; }
    // After has_ended().
    [[nodiscard]] const Result<void>& result() const { return result_; }
    [[nodiscard]] WorkerRecording& recording() { return recording_; }
    // Whether the device has stopped computing; for the thread that attends, several times a
    // second. Once found, it stays so: what follows is the end.
    [[nodiscard]] bool hangs() {
        if (hang_) return true;
        const auto overdue_ns =
            watch_.overdue_ns(platform::monotonic_ns(), platform::major_page_faults(),
                              is_on_cpu_ ? platform::process_cpu_ns() : 0);
        if (!overdue_ns) return false;
        // Not unavailable: that is how a rank tells of another one that is gone.
        hang_ = Error{ErrorCode::internal,
                      std::format("its device {} has computed nothing for {} ms.", report_.device,
                                  *overdue_ns / 1'000'000),
                      "See there what its driver says (dmesg)."};
        return true;
    }
    // After hangs().
    [[nodiscard]] const Error& hang() const { return *hang_; }
    // Of one that was told to end, and has not.
    [[nodiscard]] Error late_end() const {
        std::string_view work = "opening the model and its links";
        if (linked_) work = "loading";
        if (ready_) work = "computing";
        return {ErrorCode::internal,
                std::format("it did not end within {} s while {}.", end_ms_max / 1000, work),
                "See there what the driver of its device says (dmesg)."};
    }

  private:
    Result<void> compute() {
        EXO_TRY_ASSIGN(const auto model, find_model(request_, options_.model_places));
        EXO_TRY(check_plan(*model, request_));
        vocabulary_size_ = model->architecture.vocabulary_size;
        const auto links_deadline = net::Deadline::after_ms(links_ms_max);
        if (dials_others(request_)) EXO_TRY(wait_until_let_dial(links_deadline));
        EXO_TRY(links_.open(request_, tls_, &reception_, links_deadline));
        linked_ = true;
        EXO_TRY_ASSIGN(const auto member, Member::create(
                                              *model, request_, links_,
                                              [this](double progress) { progress_ = progress; },
                                              options_.on_hang ? &watch_ : nullptr));
        is_on_cpu_ = member->device_kind() == device::DeviceKind::cpu ||
                     member->device_kind() == device::DeviceKind::software_gpu;
        report_ = {.device = member->device_id(),
                   .weight_bytes = member->shard().weight_bytes(),
                   .cache_bytes = member->shard().cache_bytes(),
                   .compute_bytes = member->shard().compute_bytes()};
        // Whether the weights are the head's is for the head to say: it need not read its file
        // where nobody has another one.
        const std::string stamp = model_stamp(*model);
        if (stamp.empty() || stamp != request_.model_stamp) {
            report_.model_content = content_checksum(*model, content_cache_folder());
        }
        ready_ = true;
        while (true) {
            const std::uint32_t step = next_step_;
            EXO_TRY(obey(*member));
            if (next_step_ != step) {
                recording_.end_step(step, links_);
            } else {
                recording_.end_other(links_);
            }
        }
    }

    // A worker that has no order yet takes a rank for a stranger.
    Result<void> wait_until_let_dial(net::Deadline deadline) {
        while (!may_dial_) {
            if (interrupted_ || deadline.passed()) {
                return fail(ErrorCode::unavailable, "the other ranks did not get their orders.");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(order_look_ms));
        }
        return {};
    }

    // One order of the head.
    Result<void> obey(Member& member) {
        net::DataLink& head = links_.at(0);
        TraceScope trace(SpanKind::idle);
        EXO_TRY_ASSIGN(const net::Message message,
                       head.receive(net::Deadline::after_ms(idle_ms_max)));
        if (message.type == frame_type(MessageType::copy_slot)) {
            EXO_TRY_ASSIGN(const CopySlot copy, decode_copy_slot(message.payload));
            if (copy.from_slot >= request_.slot_count || copy.to_slot >= request_.slot_count ||
                copy.length > member.shard().context_length()) {
                return fail(ErrorCode::corrupt_data, "the head copies slots that are not there.");
            }
            return member.copy_slot(copy);
        }
        if (message.type == frame_type(MessageType::echo)) {
            return answer_echo(head, message.payload, net::Deadline::after_ms(silence_ms_max));
        }
        if (message.type == frame_type(MessageType::measure)) {
            return obey_measure(message.payload, request_, links_, member);
        }
        if (message.type != frame_type(MessageType::step)) {
            return fail(ErrorCode::corrupt_data, "the head sent something else than an order.");
        }
        trace.next(SpanKind::step);
        EXO_TRY(decode_step(message.payload, step_));
        platform::trace_step(step_.number);
        EXO_TRY(check_step(member));
        batch_.clear();
        for (const StepSlot& slot : step_.slots) batch_.push_back(slot.view());
        trace.set_amount(engine::token_count(batch_));
        const auto deadline = net::Deadline::after_ms(step_ms_max);
        EXO_TRY_ASSIGN(const std::span<const float> logits, member.compute(batch_, deadline));
        const engine::ShardSlice& slice = request_.ranks[request_.rank].slice;
        if (!slice.heads) return {};
        list_rows(batch_, rows_);
        const auto output = encoder_.encode(rows_, logits, slice.vocabulary);
        const TraceScope sending(SpanKind::logits_out, output.size());
        return head.send(frame_type(MessageType::output), {output}, deadline);
    }

    Result<void> check_step(const Member& member) {
        if (step_.number != next_step_++) {
            return fail(ErrorCode::corrupt_data, "the head skipped a step.");
        }
        for (const StepSlot& slot : step_.slots) {
            const std::uint64_t end = std::uint64_t{slot.first_position} + slot.tokens.size();
            if (slot.slot >= request_.slot_count || end > member.shard().context_length()) {
                return fail(ErrorCode::corrupt_data, "the head computes beyond the context.");
            }
            model::TokenId last_token = std::ranges::max(slot.tokens);
            if (!slot.adjustments.empty())
                last_token = std::max(last_token, slot.adjustments.back().token);
            if (std::cmp_greater_equal(last_token, vocabulary_size_)) {
                return fail(ErrorCode::corrupt_data, "the head sent a token the model lacks.");
            }
        }
        return {};
    }

    const LoadRequest& request_;
    const net::TlsContext& tls_;
    Reception& reception_;
    const WorkerOptions& options_;
    Links links_;
    Step step_;
    std::vector<engine::SlotTokens> batch_;
    std::vector<engine::RowNeeds> rows_;
    OutputEncoder encoder_;
    std::uint32_t next_step_ = 0;
    std::uint32_t vocabulary_size_ = 0;
    ReadyReport report_;
    WorkerRecording recording_;
    ComputeWatch watch_;
    std::optional<Error> hang_;
    Result<void> result_;
    std::atomic<double> progress_ = 0;
    std::atomic<bool> may_dial_ = false;
    std::atomic<bool> interrupted_ = false;
    std::atomic<bool> linked_ = false;
    std::atomic<bool> ready_ = false;
    std::atomic<bool> ended_ = false;
    std::atomic<bool> is_on_cpu_ = false;
};

enum class AttendEnd {
    stopped_by_head,
    stopped_here,
    failed,
    hung,
};

std::unexpected<Error> stopped_here() {
    return fail(ErrorCode::cancelled, "the worker was stopped.");
}

std::string loaded_text(const ReadyReport& report) {
    return std::format("loaded {:.1f} MB of weights on {}; computing until the head is done",
                       static_cast<double>(report.weight_bytes) / 1e6, report.device);
}

Result<net::LinkListener> listen(const WorkerOptions& options) {
    if (options.listening_descriptor < 0)
        return net::LinkListener::listen(options.host, options.port);
    EXO_TRY_ASSIGN(platform::ListeningSocket socket,
                   platform::ListeningSocket::adopt(options.listening_descriptor));
    return net::LinkListener(std::move(socket));
}

// Whether the head has ended the session: it does so before it closes its data links, and both are
// seen at once.
bool is_goodbye(net::DataLink& control) {
    for (int i = 0; i < last_words_max && control.is_open() && control.has_incoming(); ++i) {
        const auto message = control.receive(net::Deadline::after_ms(heartbeat_ms));
        if (message && message->type == frame_type(MessageType::stop)) return true;
    }
    return false;
}

}  // namespace

struct Worker::State {
    WorkerOptions options;
    net::TlsContext tls;
    net::LinkListener listener;
    std::atomic<bool> is_stopping = false;

    void say(const std::string& text) const {
        if (options.on_event) options.on_event(text);
    }
    std::optional<Reception> reception = {};  // ends before what it uses

    Result<net::DataLink> wait_for_head();
    Result<net::Message> receive_question(net::DataLink& control);
    Result<std::optional<LoadRequest>> receive_order(net::DataLink& control);
    Result<AttendEnd> attend(net::DataLink& control, Session& session);
    void end(Session& session, std::thread& thread) const;
};

Worker::Worker(std::unique_ptr<State> state) : state_(std::move(state)) {}
Worker::Worker(Worker&&) noexcept = default;
Worker::~Worker() = default;

Result<Worker> Worker::create(WorkerOptions options) {
    EXO_ASSERT(!options.allowed_heads.empty());
    EXO_TRY_ASSIGN(net::TlsContext tls, net::TlsContext::create(options.identity));
    EXO_TRY_ASSIGN(net::LinkListener listener, listen(options));
    std::unique_ptr<State> state(new State{
        .options = std::move(options), .tls = std::move(tls), .listener = std::move(listener)});
    state->reception.emplace(
        state->listener,
        control_setup(state->tls, ControlRole::worker, state->options.allowed_heads),
        [&told = *state](const std::string& text) { told.say(text); });
    return Worker(std::move(state));
}

std::uint16_t Worker::port() const {
    return state_->listener.port();
}
const net::PeerId& Worker::peer_id() const {
    return state_->options.identity.peer_id();
}

Result<net::DataLink> Worker::State::wait_for_head() {
    while (!is_stopping) {
        auto head = reception->wait_for_head(net::Deadline::after_ms(stop_look_ms));
        if (head) return *std::move(head);
    }
    return stopped_here();
}

// Tells the head how the session goes until one of them ends it.
Result<AttendEnd> Worker::State::attend(net::DataLink& control, Session& session) {
    auto silent_at = net::Deadline::after_ms(silence_ms_max);
    bool told_ready = false;
    while (!session.has_ended()) {
        if (session.is_linked()) reception->turn_others_away();
        if (is_stopping) return AttendEnd::stopped_here;
        if (session.hangs()) return AttendEnd::hung;
        const auto send_deadline = net::Deadline::after_ms(silence_ms_max);
        if (session.is_ready() && !std::exchange(told_ready, true)) {
            EXO_TRY(control.send(frame_type(MessageType::ready),
                                 {encode_ready_report(session.report())}, send_deadline));
            say(loaded_text(session.report()));
        }
        const auto progress = static_cast<float>(session.progress());
        EXO_TRY(control.send(frame_type(MessageType::progress),
                             {std::as_bytes(std::span(&progress, 1))}, send_deadline));
        const std::uint64_t wait_ms = told_ready ? heartbeat_ms : loading_look_ms;
        EXO_TRY(session.recording().tell_figures(control));
        const auto message = control.receive(net::Deadline::after_ms(wait_ms));
        if (message) {
            const std::uint64_t received_ns = platform::monotonic_ns();
            if (message->type == frame_type(MessageType::stop)) return AttendEnd::stopped_by_head;
            if (message->type == frame_type(MessageType::dial)) session.let_dial();
            EXO_TRY(session.recording().answer(control, *message, received_ns));
            silent_at = net::Deadline::after_ms(silence_ms_max);
        } else if (!control.is_open()) {
            return std::unexpected(message.error());
        } else if (silent_at.passed()) {
            return fail(ErrorCode::unavailable, control.peer_name() + " has been silent for " +
                                                    std::to_string(silence_ms_max) + " ms.");
        }
    }
    return is_goodbye(control) ? AttendEnd::stopped_by_head : AttendEnd::failed;
}

// A session that is to end may find that its device hangs only then.
void Worker::State::end(Session& session, std::thread& thread) const {
    session.interrupt();
    const auto deadline = net::Deadline::after_ms(end_ms_max);
    while (options.on_hang && !session.has_ended()) {
        if (session.hangs() || deadline.passed()) {
            options.on_hang(session.hangs() ? session.hang() : session.late_end());
            break;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(order_look_ms));
    }
    thread.join();
}

// What is no probe: those are answered.
Result<net::Message> Worker::State::receive_question(net::DataLink& control) {
    const auto deadline = net::Deadline::after_ms(load_request_ms_max);
    while (!is_stopping && control.is_open() && !control.has_incoming() && !deadline.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(order_look_ms));
    }
    if (is_stopping) return stopped_here();
    return answer_probes(control, deadline);
}

// Nothing where the head only asks what this device can do, and goes.
Result<std::optional<LoadRequest>> Worker::State::receive_order(net::DataLink& control) {
    bool is_surveyed = false;
    while (true) {
        const auto message = receive_question(control);
        if (!message && is_surveyed && !control.is_open()) return std::nullopt;
        if (!message) return std::unexpected(message.error());
        if (message->type == frame_type(MessageType::load)) {
            return decode_load_request(message->payload);
        }
        if (message->type == frame_type(MessageType::stop)) return std::nullopt;
        if (message->type != frame_type(MessageType::survey) || is_surveyed) {
            return fail(ErrorCode::corrupt_data, control.peer_name() + " asks for nothing known.");
        }
        EXO_TRY(answer_survey(control, message->payload, is_stopping));
        is_surveyed = true;
    }
}

Result<void> Worker::serve_one() {
    while (true) {
        EXO_TRY_ASSIGN(const VisitEnd end, serve_visit());
        if (end == VisitEnd::session_over) return {};
    }
}

Result<Worker::VisitEnd> Worker::serve_visit() {
    HeadVisit visit(*state_->reception);
    EXO_TRY_ASSIGN(net::DataLink control, state_->wait_for_head());
    const auto fail_with = [&control](const Error& error) {
        tell_failure(control, error, net::Deadline::after_ms(silence_ms_max));
        return std::unexpected(error);
    };
    const Result<std::optional<LoadRequest>> order = state_->receive_order(control);
    if (!order) return fail_with(order.error());
    if (!*order) {
        state_->say("the head asked what this device can do");
        visit.end();  // before the link closes: the head waits for that
        return VisitEnd::surveyed;
    }
    const LoadRequest* const request = &**order;
    state_->say("rank " + std::to_string(request->rank) + " of " + plan_text(*request) + " for " +
                control.peer_name());
    auto setup = setup_for_lower(*request, state_->tls);
    if (!setup) return fail_with(setup.error());
    state_->reception->expect_ranks(*std::move(setup));
    Session session(*request, state_->tls, *state_->reception, state_->options);
    std::thread thread;
    try {
        thread = std::thread([&session] { session.run(); });
    } catch (const std::system_error& error) {  // it would end the process
        return fail_with({ErrorCode::resource_exhausted,
                          std::string("the system gives no thread: ") + error.what(), ""});
    }
    const Result<AttendEnd> end = state_->attend(control, session);
    if (end && *end == AttendEnd::hung)
        tell_failure(control, session.hang(), net::Deadline::after_ms(silence_ms_max));
    state_->end(session, thread);
    if (!end) return std::unexpected(end.error());
    switch (*end) {
        case AttendEnd::stopped_by_head:
            state_->say("the head is done");
            return VisitEnd::session_over;
        case AttendEnd::stopped_here:
            std::ignore = control.send(frame_type(MessageType::stop), {},
                                       net::Deadline::after_ms(heartbeat_ms));
            return stopped_here();
        case AttendEnd::hung:
            return std::unexpected(session.hang());
        case AttendEnd::failed:
            break;
    }
    return fail_with(session.result().error());
}

void Worker::stop() {
    state_->is_stopping = true;
}

}  // namespace exomesh::runner
