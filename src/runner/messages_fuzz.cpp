// Any bytes as what a rank says: a first byte that picks the message, then its payload.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.h"
#include "runner/link_survey.h"
#include "runner/messages.h"
#include "runner/output_rows.h"
#include "runner/testing/is_refused.h"

namespace {

namespace engine = exomesh::engine;
namespace net = exomesh::net;
namespace runner = exomesh::runner;
using exomesh::Error;
using exomesh::Result;
using runner::testing::is_refused;
using Payload = std::span<const std::byte>;

void try_step(Payload payload) {
    runner::Step step;
    if (is_refused(runner::decode_step(payload, step))) return;
    std::vector<engine::SlotTokens> batch;
    for (const runner::StepSlot& slot : step.slots) batch.push_back(slot.view());
    std::vector<std::byte> again;
    runner::encode_step(step.number, batch, again);
    EXO_ASSERT(std::ranges::equal(again, payload));
}

void try_load_request(Payload payload) {
    const auto request = runner::decode_load_request(payload);
    if (is_refused(request)) return;
    EXO_ASSERT(request->rank < request->ranks.size());
    const auto again = runner::decode_load_request(runner::encode_load_request(*request));
    EXO_ASSERT(again && *again == *request);
    EXO_ASSERT(runner::plan_checksum(*again) == runner::plan_checksum(*request));
    EXO_ASSERT(runner::plan_text(*request).size() <= net::plan_text_bytes_max);
}

void try_ready_report(Payload payload) {
    const auto report = runner::decode_ready_report(payload);
    if (is_refused(report)) return;
    const auto again = runner::decode_ready_report(runner::encode_ready_report(*report));
    EXO_ASSERT(again && *again == *report);
}

void try_survey(Payload payload) {
    if (const auto question = runner::decode_survey_question(payload); !is_refused(question)) {
        const auto bytes = runner::encode_survey_question(*question);
        EXO_ASSERT(runner::decode_survey_question(bytes) == *question);
    }
    const auto survey = runner::decode_survey(payload);
    if (is_refused(survey)) return;
    const auto again = runner::decode_survey(runner::encode_survey(*survey));
    EXO_ASSERT(again && *again == *survey);
}

void try_failure(Payload payload) {
    const Error error = runner::decode_failure(payload);
    EXO_ASSERT(!error.message.empty() && !error.text().contains('\n'));
    const Error again = runner::decode_failure(runner::encode_failure(error));
    EXO_ASSERT(again.code == error.code && again.text() == error.text());
}

void try_copy_slot(Payload payload) {
    const auto copy = runner::decode_copy_slot(payload);
    if (is_refused(copy)) return;
    EXO_ASSERT(std::ranges::equal(runner::encode_copy_slot(*copy), payload));
}

void try_measure_order(Payload payload) {
    const auto order = runner::decode_measure_order(payload);
    if (is_refused(order)) return;
    EXO_ASSERT(std::ranges::equal(runner::encode_measure_order(*order), payload));
}

void try_measurement(Payload payload) {
    const auto measured = runner::decode_measurement(payload);
    if (is_refused(measured)) return;
    EXO_ASSERT(measured->bytes_per_s >= 0);
    EXO_ASSERT(std::ranges::equal(runner::encode_measurement(*measured), payload));
}

// What was taken in is in order, of the vocabulary and as much as was asked for.
void try_output(Payload payload) {
    constexpr std::uint32_t vocabulary_size = 96;
    constexpr engine::Range own{32, 64};
    if (payload.size() < 2) return;
    std::vector<engine::RowNeeds> rows(static_cast<std::size_t>(payload[0]) % 4);
    for (engine::RowNeeds& row : rows) {
        row.candidate_count = static_cast<std::uint32_t>(payload[1]) % 4;
        row.normalizer = static_cast<std::uint32_t>(payload[1]) >= 128;
    }
    runner::OutputCollector collector;
    collector.begin(rows, vocabulary_size);
    if (is_refused(collector.add(own, payload.subspan(2)))) return;
    const auto output = collector.finish();
    EXO_ASSERT(output.size() == rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        EXO_ASSERT(output[i].logits.size() == (rows[i].whole() ? vocabulary_size : 0));
        EXO_ASSERT(output[i].candidates.size() <= rows[i].candidate_count);
        EXO_ASSERT(std::ranges::is_sorted(output[i].candidates, engine::precedes));
        for (const engine::Candidate& candidate : output[i].candidates)
            EXO_ASSERT(candidate.token >= 32 && candidate.token < 96);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const Payload payload = std::as_bytes(std::span(data, size)).subspan(1);
    switch ((data[0] + 2) % 10) {  // seeds begin with the digit of their case
        case 0:
            try_step(payload);
            break;
        case 1:
            try_load_request(payload);
            break;
        case 2:
            try_ready_report(payload);
            break;
        case 3:
            try_failure(payload);
            break;
        case 4:
            try_copy_slot(payload);
            break;
        case 5:
            try_output(payload);
            break;
        case 6:
            try_survey(payload);
            break;
        case 7:
            try_measure_order(payload);
            break;
        default:
            try_measurement(payload);
            break;
    }
    return 0;
}
