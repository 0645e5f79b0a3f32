// What ranks tell each other beside partial sums, as bytes: pure, and made to be fuzzed. All
// integers little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/shard.h"
#include "engine/shard_slice.h"
#include "net/frame.h"
#include "runner/all_reduce_cost.h"
#include "runner/recording.h"
#include "runner/wire_codec.h"

namespace exomesh::runner {

// Types of net's frames, from FrameType::first_of_caller on.
enum class MessageType : std::uint16_t {
    load = 16,     // control: head → worker, a LoadRequest
    progress,      // control: worker → head, f32 from 0 to 1
    ready,         // control: worker → head, a ReadyReport
    failure,       // control and data: an Error
    ping,          // control: head → worker; with bytes before the load (link_probe.h)
    pong,          // control: worker → head, empty; only before the load
    step,          // data: head → everyone, a Step
    copy_slot,     // data: head → everyone, a CopySlot
    partial_sums,  // data: within a tensor group, WireType bytes
    states,        // data: stage → next stage, WireType bytes
    output,        // data: last stage → head, one for each step: see output_rows.h
    stop,          // control: both ways, empty: the session is over
    echo,          // control and data: 8 bytes and more; the answer is an echo of the first 8
    measure,       // data: head → worker, a MeasureOrder (link_survey.h)
    measured,      // data: worker → head, a LinkMeasurement
    // Where the load request asks for a recording (recording.h), all on control links:
    clock_request,  // head → worker
    clock_answer,   // worker → head
    figures,        // worker → head, of the steps since the last
    take_recorded,  // head → worker
    span_report,    // worker → head, one or more; the last says so
    survey,         // control, before the load: a SurveyQuestion; and back, after progress, a
                    // DeviceSurvey
    sum_check,      // data: within a tensor group, a hash (sum_check.h)
    welcome,        // control: worker → head, empty: it has the worker, and may order
    dial,           // control: head → worker, empty: all have their orders and expect ranks
};

[[nodiscard]] inline net::FrameType frame_type(MessageType type) {
    return static_cast<net::FrameType>(type);
}

inline constexpr std::uint32_t step_slot_count_max = 256;
inline constexpr std::uint32_t step_token_count_max = 65'536;
inline constexpr std::size_t load_request_bytes_max = 1 << 20;
inline constexpr std::size_t ready_report_bytes_max = 4096;
inline constexpr std::size_t survey_bytes_max = 8192;       // question and answer
inline constexpr std::size_t survey_group_count_max = 128;  // of a self-test
// Of what a device reads, in bytes/s. Beyond these, nobody measured it.
inline constexpr double survey_rate_min = 1e6;
inline constexpr double survey_rate_max = 1e17;
inline constexpr std::size_t rank_count_max = 64;

// Of a head that computes nothing itself: it watches, so that a driver that ends a process does not
// end the head.
inline constexpr std::uint16_t stage_none = 0xFFFF;

// One rank of an instance, as everyone must know it.
struct RankPlan {
    std::string host = {};  // where its listener is; empty for the head
    std::uint16_t port = 0;
    std::string peer_id = {};  // text form
    std::uint16_t stage = 0;   // ranks of one stage form a tensor group; or stage_none
    engine::ShardSlice slice = {};
    bool operator==(const RankPlan& other) const;
};

// Everything a worker needs to become one rank. JSON on the wire, version 1: small, rare, and read
// by people who look for a fault.
struct LoadRequest {
    std::string model_path;              // on the worker's own disk
    std::uint64_t model_size_bytes = 0;  // must be the worker's file's
    std::string model_checksum;          // hex; of the GGUF's header and tensor index
    std::string model_stamp = {};        // of the head's file (model_content.h)
    net::SessionId session_id = {};
    std::uint16_t rank = 0;  // which one the worker is
    std::vector<RankPlan> ranks;
    WireType wire = WireType::q8_0;
    std::string device = "cpu";
    std::uint32_t thread_count = 0;
    std::uint32_t slot_count = 1;
    std::uint32_t context_length = 0;
    std::uint32_t chunk_length = 512;
    std::uint32_t spin_us = 30;
    LinkFigures link = {};
    std::uint32_t overlap_tokens_min = 0;  // engine::ShardOptions has it
    engine::CacheType cache_type = engine::CacheType::f16;
    engine::WeightLayout weight_layout = engine::WeightLayout::fast;
    bool flash_attention = true;
    Recording recording = Recording::nothing;
    bool checks_sums = false;  // ranks compare their sums in every step (sum_check.h)
    bool operator==(const LoadRequest&) const = default;
};

// Whether the head is a rank only to tell the others what to compute.
[[nodiscard]] inline bool is_head_idle(const std::vector<RankPlan>& ranks) {
    return ranks.front().stage == stage_none;
}

struct ReadyReport {
    std::string device;
    std::uint64_t weight_bytes = 0;
    std::uint64_t cache_bytes = 0;
    std::uint64_t compute_bytes = 0;
    // Hex, of the whole file (model_content.h); empty where the file is the head's very own.
    std::string model_content = {};
    bool operator==(const ReadyReport&) const = default;
};

struct SurveyQuestion {
    std::string device = {};       // as people type it
    std::string weight_type = {};  // ggml's name of the type most of the weights have
    // What its self-test has to vouch for (engine/self_test_needs.h); empty: everything.
    std::vector<std::string> self_test_groups = {};
    std::uint32_t thread_count = 0;  // CPU only; 0: one per physical core
    bool operator==(const SurveyQuestion&) const = default;
};

// What a rank's device can do, measured where it is.
struct DeviceSurvey {
    // Ranks with the same text compute on the same processor: the machine's boot id, and the
    // device's PCI address or, where it has none, its id. Empty: nobody knows.
    std::string processor;
    std::string device;              // its id: lower-case letters and digits
    std::uint64_t memory_bytes = 0;  // free for weights
    double read_bytes_per_s = 0;     // of weights, while it computes one token
    bool operator==(const DeviceSurvey&) const = default;
};

// What engine::StepExecutor::start takes, with what it refers to.
struct StepSlot {
    std::uint32_t slot = 0;
    std::uint32_t first_position = 0;
    engine::OutputRows outputs = engine::OutputRows::last;
    std::vector<model::TokenId> tokens;
    // At most engine::candidate_count_max candidates; its adjustments are those below.
    engine::RowNeeds needs = {};
    std::vector<engine::LogitAdjustment> adjustments = {};  // at most engine::adjustment_count_max
    bool operator==(const StepSlot&) const = default;

    // Valid for as long as this stays as it is.
    [[nodiscard]] engine::SlotTokens view() const;
};

struct Step {
    std::uint32_t number = 0;  // ascending; echoed nowhere, checked by the receiver
    std::vector<StepSlot> slots;
    bool operator==(const Step&) const = default;
};

struct CopySlot {
    std::uint32_t from_slot = 0, to_slot = 0, length = 0;
    bool operator==(const CopySlot&) const = default;
};

// Decoders: corrupt_data for anything malformed, over a limit, or with bytes left over. Slots of a
// step ascend strictly, none is empty; so do the tokens of a slot's adjustments, whose numbers are
// usable.
[[nodiscard]] std::vector<std::byte> encode_load_request(const LoadRequest& request);
[[nodiscard]] Result<LoadRequest> decode_load_request(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_ready_report(const ReadyReport& report);
[[nodiscard]] Result<ReadyReport> decode_ready_report(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_survey_question(const SurveyQuestion& question);
[[nodiscard]] Result<SurveyQuestion> decode_survey_question(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_survey(const DeviceSurvey& survey);
[[nodiscard]] Result<DeviceSurvey> decode_survey(std::span<const std::byte> payload);
[[nodiscard]] std::vector<std::byte> encode_failure(const Error& error);
[[nodiscard]] Error decode_failure(std::span<const std::byte> payload);  // total
// Appends to `out` after clearing it, so that a step allocates nothing once it is large enough.
void encode_step(std::uint32_t number, std::span<const engine::SlotTokens> batch,
                 std::vector<std::byte>& out);
[[nodiscard]] Result<void> decode_step(std::span<const std::byte> payload, Step& out);
[[nodiscard]] std::array<std::byte, 12> encode_copy_slot(const CopySlot& copy);
[[nodiscard]] Result<CopySlot> decode_copy_slot(std::span<const std::byte> payload);

// Over everything ranks must agree on: model, slices of all ranks, wire type, cache type, layout of
// weights, slots, context, and what decides how sums are made. Ranks whose checksums differ refuse
// each other. SHA-256.
[[nodiscard]] net::PlanChecksum plan_checksum(const LoadRequest& request);
// The same for people, at most net::plan_text_bytes_max: "llama 22 layers, 2 ranks, q8 wire, ..."
[[nodiscard]] std::string plan_text(const LoadRequest& request);

}  // namespace exomesh::runner
