#include "runner/device_survey.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <limits>
#include <string>
#include <system_error>

#include "device/device.h"
#include "device/speed.h"
#include "platform/boot_id.h"
#include "platform/system_memory.h"
#include "runner/control.h"
#include "runner/link_probe.h"

namespace exomesh::runner {

namespace {

constexpr std::uint64_t connect_ms_max = 10'000;
constexpr std::uint64_t survey_progress_ms = 200;
constexpr std::uint64_t survey_farewell_ms_max = 1'000;
// Of a worker that measures. Its machine may be busy with just that.
constexpr std::uint64_t survey_silence_ms_max = 10'000;

// Until the worker has its answer.
Result<net::Message> await_answer(net::DataLink& control) {
    while (true) {
        EXO_TRY_ASSIGN(net::Message message,
                       control.receive(net::Deadline::after_ms(survey_silence_ms_max)));
        if (message.type != frame_type(MessageType::progress)) return message;
    }
}

// On the thread of its own, where an exception would end the process.
Result<DeviceSurvey> survey_without_throwing(const SurveyQuestion& question) try {
    return survey_device(question);
} catch (const std::exception& exception) {
    return fail(ErrorCode::unavailable,
                std::string("its device cannot be measured: ") + exception.what() + ".");
}

}  // namespace

std::string processor_name(const std::string& boot_id, const device::DeviceFacts& facts) {
    if (boot_id.empty()) return "";
    return boot_id + " " + (facts.pci_address.empty() ? facts.id : facts.pci_address);
}

Result<DeviceSurvey> survey_device(const SurveyQuestion& question) {
    EXO_TRY_ASSIGN(const device::Choice choice, device::DeviceRegistry::instance().choose(
                                                    question.device, question.self_test_groups));
    const device::DeviceFacts& facts = choice.device.facts;
    EXO_TRY_ASSIGN(
        const double bytes_per_s,
        device::decode_bytes_per_s(choice.device, question.weight_type, question.thread_count));
    const bool is_cpu = facts.kind == device::DeviceKind::cpu;
    const std::uint64_t free_bytes =
        is_cpu ? platform::system_memory().free_bytes : facts.memory_free_bytes;
    return DeviceSurvey{
        .processor = processor_name(platform::boot_id(), facts),
        .device = facts.id,
        // Where the system does not say, loading will.
        .memory_bytes = free_bytes == 0 ? std::numeric_limits<std::uint64_t>::max() : free_bytes,
        .read_bytes_per_s = std::clamp(bytes_per_s, survey_rate_min, survey_rate_max)};
}

namespace {

Result<std::future<Result<DeviceSurvey>>> begin_survey(const SurveyQuestion& question) try {
    return std::async(std::launch::async, survey_without_throwing, question);
} catch (const std::system_error& error) {
    return fail(ErrorCode::resource_exhausted,
                std::string("the system gives no thread: ") + error.what());
}

Result<WorkerSurvey> survey_over(net::DataLink& control, const SurveyQuestion& question) {
    WorkerSurvey survey;
    EXO_TRY_ASSIGN(survey.link, probe_link(control));
    EXO_TRY(control.send(frame_type(MessageType::survey), {encode_survey_question(question)},
                         net::Deadline::after_ms(connect_ms_max)));
    EXO_TRY_ASSIGN(const net::Message answer, await_answer(control));
    if (answer.type == frame_type(MessageType::failure)) {
        return std::unexpected(decode_failure(answer.payload));
    }
    if (answer.type != frame_type(MessageType::survey)) {
        return fail(ErrorCode::corrupt_data, "it says nothing of its device when asked.",
                    "Run the same version of exomesh everywhere.");
    }
    EXO_TRY_ASSIGN(survey.device, decode_survey(answer.payload));
    std::ignore =
        control.send(frame_type(MessageType::stop), {}, net::Deadline::after_ms(connect_ms_max));
    // Until the worker closes the link: then it is free, for us too.
    std::ignore = control.receive(net::Deadline::after_ms(survey_farewell_ms_max));
    return survey;
}

}  // namespace

Result<WorkerSurvey> survey_worker(const WorkerAddress& worker, const net::TlsContext& tls,
                                   const SurveyQuestion& question) {
    const net::LinkSetup setup = control_setup(tls, ControlRole::head, {worker.peer_id});
    const auto call = [&]() -> Result<net::DataLink> {
        const auto deadline = net::Deadline::after_ms(connect_ms_max);
        EXO_TRY_ASSIGN(net::DataLink control,
                       net::DataLink::connect(worker.host, worker.port, setup, deadline));
        auto welcome = await_welcome(control, deadline);
        if (!welcome) return std::unexpected(nameless(control, std::move(welcome).error()));
        return control;
    };
    EXO_TRY_ASSIGN(net::DataLink control, call_until_free(call));
    auto survey = survey_over(control, question);
    if (!survey) return std::unexpected(nameless(control, std::move(survey).error()));
    return survey;
}

Result<void> answer_survey(net::DataLink& control, std::span<const std::byte> payload,
                           const std::atomic<bool>& is_stopping) {
    EXO_TRY_ASSIGN(const SurveyQuestion question, decode_survey_question(payload));
    EXO_TRY_ASSIGN(auto answer, begin_survey(question));
    do {
        if (is_stopping) {
            // The head need not wait for the device.
            const Error stopped{ErrorCode::cancelled, "the worker was stopped.", {}};
            std::ignore = control.send(frame_type(MessageType::failure), {encode_failure(stopped)},
                                       net::Deadline::after_ms(survey_progress_ms));
            return std::unexpected(stopped);
        }
        constexpr float progress = 0;  // nobody knows how far it is
        EXO_TRY(control.send(frame_type(MessageType::progress),
                             {std::as_bytes(std::span(&progress, 1))},
                             net::Deadline::after_ms(connect_ms_max)));
    } while (answer.wait_for(std::chrono::milliseconds(survey_progress_ms)) !=
             std::future_status::ready);
    EXO_TRY_ASSIGN(const DeviceSurvey survey, answer.get());
    return control.send(frame_type(MessageType::survey), {encode_survey(survey)},
                        net::Deadline::after_ms(connect_ms_max));
}

}  // namespace exomesh::runner
