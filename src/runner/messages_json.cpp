// The messages that are JSON: rare, and read by people who look for a fault.
#include <openssl/evp.h>

#include <algorithm>
#include <concepts>
#include <format>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "device/compute.h"
#include "net/peer_id.h"
#include "runner/messages.h"

namespace exomesh::runner {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint32_t message_version = 1;
// Number < range < rank < list of ranks < request.
constexpr int json_depth_max = 4;
constexpr std::size_t path_bytes_max = 4096;
constexpr std::size_t host_bytes_max = 253;
constexpr std::size_t device_bytes_max = 256;
constexpr std::size_t device_id_bytes_max = 32;
constexpr std::size_t weight_type_bytes_max = 32;
constexpr std::size_t self_test_group_bytes_max = 64;
constexpr std::size_t checksum_characters_max = 128;
constexpr std::size_t stamp_bytes_max = 256;
constexpr std::size_t shown_name_bytes_max = 64;
// A longer wait than any that pays: what a head asks for beyond it would only heat the machine.
constexpr std::uint32_t spin_us_max = 1'000;

constexpr std::string_view hexadecimal_digits = "0123456789abcdef";

std::string to_hexadecimal(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text += hexadecimal_digits[std::to_integer<std::size_t>(byte >> 4)];
        text += hexadecimal_digits[std::to_integer<std::size_t>(byte & std::byte{0xf})];
    }
    return text;
}

bool is_hexadecimal(std::string_view text) {
    return text.find_first_not_of(hexadecimal_digits) == std::string_view::npos;
}

std::vector<std::byte> to_bytes(const Json& json) {
    // A path need not be UTF-8; one that is not becomes one that is not found.
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

std::string_view cache_type_name(engine::CacheType type) {
    switch (type) {
        case engine::CacheType::f16:
            return "f16";
        case engine::CacheType::q8_0:
            return "q8";
        case engine::CacheType::f32:
            return "f32";
    }
    return "unknown";
}

std::string_view weight_layout_name(engine::WeightLayout layout) {
    switch (layout) {
        case engine::WeightLayout::fast:
            return "fast";
        case engine::WeightLayout::exact:
            return "exact";
    }
    return "unknown";
}

// One object's fields, each taken once. The first problem stays; after it nothing is taken.
class Fields {
  public:
    Fields(const Json& object, std::string what) : object_(object), what_(std::move(what)) {
        if (!object_.is_object()) problem_ = "is no object";
    }

    template <std::unsigned_integral T>
    void number(const char* name, T& out, std::uint64_t minimum = 0,
                std::uint64_t maximum = std::numeric_limits<T>::max()) {
        const Json* value = take(name);
        if (value == nullptr) return;
        if (!value->is_number_unsigned()) return wrong(name, "is no number");
        const auto read = value->get<std::uint64_t>();
        if (read < minimum || read > maximum)
            return wrong(name, std::format("is not from {} to {}", minimum, maximum));
        out = static_cast<T>(read);
    }

    void text(const char* name, std::string& out, std::size_t bytes_max) {
        const Json* value = take(name);
        if (value == nullptr) return;
        if (!value->is_string()) return wrong(name, "is no text");
        out = value->get<std::string>();
        if (out.size() > bytes_max || out.contains('\0'))
            wrong(name, "is too long or no plain text");
    }

    // The id of a device: it is shown to people.
    void device_id(const char* name, std::string& out) {
        text(name, out, device_id_bytes_max);
        if (out.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") != std::string::npos)
            wrong(name, "is no id of a device");
    }

    // A rate of a survey.
    void rate(const char* name, double& out) {
        const Json* value = take(name);
        if (value == nullptr) return;
        if (!value->is_number()) return wrong(name, "is no number");
        out = value->get<double>();
        // Not the other way round: NaN is wrong.
        if (!(out >= survey_rate_min && out <= survey_rate_max))
            wrong(name, "is no rate that a device has");
    }

    void boolean(const char* name, bool& out) {
        const Json* value = take(name);
        if (value == nullptr) return;
        if (!value->is_boolean()) return wrong(name, "is neither true nor false");
        out = value->get<bool>();
    }

    void range(const char* name, engine::Range& out) {
        const Json* value = take(name);
        if (value == nullptr) return;
        if (!value->is_array() || value->size() != 2 || !(*value)[0].is_number_unsigned() ||
            !(*value)[1].is_number_unsigned()) {
            return wrong(name, "is no pair of first and count");
        }
        constexpr std::uint64_t end_max = std::numeric_limits<std::uint32_t>::max();
        const auto first = (*value)[0].get<std::uint64_t>();
        const auto count = (*value)[1].get<std::uint64_t>();
        if (first > end_max || count > end_max - first) return wrong(name, "is out of range");
        out = {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)};
    }

    // The value of a list or a text with rules of its own; nullptr after a problem.
    const Json* take(const char* name) {
        if (!problem_.empty()) return nullptr;
        const auto found = object_.find(name);
        if (found == object_.end()) {
            wrong(name, "is missing");
            return nullptr;
        }
        ++taken_count_;
        return &*found;
    }

    void wrong(const char* name, const std::string& why) {
        if (problem_.empty()) problem_ = std::format("cannot be used: '{}' {}", name, why);
    }

    [[nodiscard]] Result<void> finish() const {
        if (problem_.empty() && taken_count_ == object_.size()) return {};
        return fail(ErrorCode::corrupt_data,
                    what_ + " " + (problem_.empty() ? "has unknown fields" : problem_) + ".",
                    "Run the same version of exomesh everywhere.");
    }

  private:
    const Json& object_;
    std::string what_;
    std::size_t taken_count_ = 0;
    std::string problem_;
};

// corrupt_data where the bytes are no JSON of this version. What is nested deeper than any message
// is dropped, so that a few bytes cannot become many.
Result<Json> parse(std::span<const std::byte> payload, std::size_t bytes_max,
                   const std::string& what) {
    if (payload.size() > bytes_max) {
        return fail(ErrorCode::corrupt_data, std::format("{} has {} bytes, {} are allowed.", what,
                                                         payload.size(), bytes_max));
    }
    const auto* text = reinterpret_cast<const char*>(payload.data());
    const auto is_shallow = [](int depth, Json::parse_event_t, Json&) {
        return depth <= json_depth_max;
    };
    Json json = Json::parse(text, text + payload.size(), is_shallow, false);
    if (json.is_discarded()) return fail(ErrorCode::corrupt_data, what + " is no JSON.");
    return json;
}

Json range_json(const engine::Range& range) {
    return Json::array({range.first, range.count});
}

// A rank's part of the model: what all ranks must agree on.
Json share_json(const RankPlan& rank) {
    return {{"stage", rank.stage},
            {"layers", range_json(rank.slice.layers)},
            {"query_heads", range_json(rank.slice.query_heads)},
            {"key_value_heads", range_json(rank.slice.key_value_heads)},
            {"feed_forward", range_json(rank.slice.feed_forward)},
            {"vocabulary", range_json(rank.slice.vocabulary)},
            {"embeds", rank.slice.embeds},
            {"heads", rank.slice.heads}};
}

Result<RankPlan> read_rank(const Json& json, std::size_t index, std::size_t rank_count) {
    RankPlan rank;
    Fields fields(json, std::format("rank {} of the load request", index));
    fields.text("host", rank.host, host_bytes_max);
    fields.number("port", rank.port);
    fields.text("peer_id", rank.peer_id, net::peer_id_text_length_max);
    fields.number("stage", rank.stage);
    if (rank.stage >= rank_count && (index > 0 || rank.stage != stage_none))
        fields.wrong("stage", "is none of this plan");
    fields.range("layers", rank.slice.layers);
    fields.range("query_heads", rank.slice.query_heads);
    fields.range("key_value_heads", rank.slice.key_value_heads);
    fields.range("feed_forward", rank.slice.feed_forward);
    fields.range("vocabulary", rank.slice.vocabulary);
    fields.boolean("embeds", rank.slice.embeds);
    fields.boolean("heads", rank.slice.heads);
    EXO_TRY(fields.finish());
    return rank;
}

void read_version(Fields& fields) {
    std::uint32_t version = 0;
    fields.number("version", version, message_version, message_version);
}

void read_session_id(Fields& fields, net::SessionId& out) {
    std::string text;
    fields.text("session_id", text, 2 * out.size());
    if (text.size() != 2 * out.size() || !is_hexadecimal(text))
        return fields.wrong("session_id", "is no such number");
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t high = hexadecimal_digits.find(text[2 * i]);
        const std::size_t low = hexadecimal_digits.find(text[2 * i + 1]);
        out[i] = static_cast<std::byte>(high << 4 | low);
    }
}

void read_types(Fields& fields, LoadRequest& request) {
    std::string name;
    fields.text("wire", name, device_bytes_max);
    if (const auto wire = parse_wire_type(name))
        request.wire = *wire;
    else
        fields.wrong("wire", "is no wire type");
    fields.text("cache_type", name, device_bytes_max);
    request.cache_type = engine::CacheType::q8_0;
    if (name == cache_type_name(engine::CacheType::f16))
        request.cache_type = engine::CacheType::f16;
    else if (name == cache_type_name(engine::CacheType::f32))
        request.cache_type = engine::CacheType::f32;
    else if (name != cache_type_name(engine::CacheType::q8_0))
        fields.wrong("cache_type", "is no type of cache");
    fields.text("weight_layout", name, device_bytes_max);
    request.weight_layout = engine::WeightLayout::exact;
    if (name == weight_layout_name(engine::WeightLayout::fast))
        request.weight_layout = engine::WeightLayout::fast;
    else if (name != weight_layout_name(engine::WeightLayout::exact))
        fields.wrong("weight_layout", "is no layout of weights");
}

// They become arguments of a program.
void read_self_test_groups(Fields& fields, std::vector<std::string>& out) {
    const char* const name = "self_test_groups";
    const Json* groups = fields.take(name);
    if (groups == nullptr) return;
    if (!groups->is_array() || groups->size() > survey_group_count_max) {
        return fields.wrong(name,
                            std::format("is no list of at most {} groups", survey_group_count_max));
    }
    const auto is_plain = [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
               (letter >= '0' && letter <= '9') || letter == '_' || letter == ' ';
    };
    for (const Json& group : *groups) {
        if (!group.is_string()) return fields.wrong(name, "has something else than texts");
        std::string text = group.get<std::string>();
        if (text.empty() || text.size() > self_test_group_bytes_max ||
            !std::ranges::all_of(text, is_plain)) {
            return fields.wrong(name, "has a text that names no group");
        }
        out.push_back(std::move(text));
    }
}

}  // namespace

std::vector<std::byte> encode_load_request(const LoadRequest& request) {
    Json ranks = Json::array();
    for (const RankPlan& rank : request.ranks) {
        Json json = {{"host", rank.host}, {"port", rank.port}, {"peer_id", rank.peer_id}};
        json.update(share_json(rank));
        ranks.push_back(std::move(json));
    }
    return to_bytes({{"version", message_version},
                     {"model_path", request.model_path},
                     {"model_size_bytes", request.model_size_bytes},
                     {"model_checksum", request.model_checksum},
                     {"model_stamp", request.model_stamp},
                     {"session_id", to_hexadecimal(request.session_id)},
                     {"rank", request.rank},
                     {"ranks", std::move(ranks)},
                     {"wire", wire_type_name(request.wire)},
                     {"device", request.device},
                     {"thread_count", request.thread_count},
                     {"slot_count", request.slot_count},
                     {"context_length", request.context_length},
                     {"chunk_length", request.chunk_length},
                     {"spin_us", request.spin_us},
                     {"link_latency_us", request.link.latency_us},
                     {"link_bytes_per_ms", request.link.bytes_per_ms},
                     {"overlap_tokens_min", request.overlap_tokens_min},
                     {"cache_type", cache_type_name(request.cache_type)},
                     {"weight_layout", weight_layout_name(request.weight_layout)},
                     {"flash_attention", request.flash_attention},
                     {"recording", static_cast<unsigned>(request.recording)},
                     {"checks_sums", request.checks_sums}});
}

Result<LoadRequest> decode_load_request(std::span<const std::byte> payload) {
    const std::string what = "the load request";
    EXO_TRY_ASSIGN(const Json json, parse(payload, load_request_bytes_max, what));
    LoadRequest request;
    Fields fields(json, what);
    read_version(fields);
    fields.text("model_path", request.model_path, path_bytes_max);
    if (request.model_path.empty()) fields.wrong("model_path", "is empty");
    fields.number("model_size_bytes", request.model_size_bytes);
    fields.text("model_checksum", request.model_checksum, checksum_characters_max);
    if (!is_hexadecimal(request.model_checksum)) fields.wrong("model_checksum", "is no checksum");
    fields.text("model_stamp", request.model_stamp, stamp_bytes_max);
    read_session_id(fields, request.session_id);
    fields.number("rank", request.rank, 0, rank_count_max - 1);
    const Json* ranks = fields.take("ranks");
    read_types(fields, request);
    fields.text("device", request.device, device_bytes_max);
    fields.number("thread_count", request.thread_count, 0, device::thread_count_max);
    fields.number("slot_count", request.slot_count, 1, step_slot_count_max);
    fields.number("context_length", request.context_length, 1, engine::context_length_max);
    fields.number("chunk_length", request.chunk_length, 1, step_token_count_max);
    fields.number("spin_us", request.spin_us);
    request.spin_us = std::min(request.spin_us, spin_us_max);
    fields.number("link_latency_us", request.link.latency_us);
    fields.number("link_bytes_per_ms", request.link.bytes_per_ms, 1);
    fields.number("overlap_tokens_min", request.overlap_tokens_min, 0, step_token_count_max);
    fields.boolean("flash_attention", request.flash_attention);
    std::uint8_t recording = 0;
    fields.number("recording", recording, 0, static_cast<std::uint64_t>(Recording::spans));
    request.recording = static_cast<Recording>(recording);
    fields.boolean("checks_sums", request.checks_sums);
    if (ranks == nullptr || !ranks->is_array() || ranks->size() > rank_count_max ||
        ranks->size() <= request.rank) {
        fields.wrong("ranks", std::format("is no list of at most {} ranks with the worker's own",
                                          rank_count_max));
    }
    EXO_TRY(fields.finish());
    for (const Json& rank : *ranks) {
        EXO_TRY_ASSIGN(RankPlan plan, read_rank(rank, request.ranks.size(), ranks->size()));
        request.ranks.push_back(std::move(plan));
    }
    return request;
}

std::vector<std::byte> encode_ready_report(const ReadyReport& report) {
    return to_bytes({{"version", message_version},
                     {"device", report.device},
                     {"weight_bytes", report.weight_bytes},
                     {"cache_bytes", report.cache_bytes},
                     {"compute_bytes", report.compute_bytes},
                     {"model_content", report.model_content}});
}

Result<ReadyReport> decode_ready_report(std::span<const std::byte> payload) {
    const std::string what = "the worker's report";
    EXO_TRY_ASSIGN(const Json json, parse(payload, ready_report_bytes_max, what));
    ReadyReport report;
    Fields fields(json, what);
    read_version(fields);
    fields.device_id("device", report.device);
    fields.number("weight_bytes", report.weight_bytes);
    fields.number("cache_bytes", report.cache_bytes);
    fields.number("compute_bytes", report.compute_bytes);
    fields.text("model_content", report.model_content, checksum_characters_max);
    if (!is_hexadecimal(report.model_content)) fields.wrong("model_content", "is no checksum");
    EXO_TRY(fields.finish());
    return report;
}

std::vector<std::byte> encode_survey_question(const SurveyQuestion& question) {
    return to_bytes({{"version", message_version},
                     {"device", question.device},
                     {"weight_type", question.weight_type},
                     {"self_test_groups", question.self_test_groups},
                     {"thread_count", question.thread_count}});
}

Result<SurveyQuestion> decode_survey_question(std::span<const std::byte> payload) {
    EXO_TRY_ASSIGN(const Json json, parse(payload, survey_bytes_max, "the question of a survey"));
    SurveyQuestion question;
    Fields fields(json, "the question of a survey");
    read_version(fields);
    fields.text("device", question.device, device_bytes_max);
    fields.text("weight_type", question.weight_type, weight_type_bytes_max);
    read_self_test_groups(fields, question.self_test_groups);
    fields.number("thread_count", question.thread_count, 0, device::thread_count_max);
    EXO_TRY(fields.finish());
    return question;
}

std::vector<std::byte> encode_survey(const DeviceSurvey& survey) {
    return to_bytes({{"version", message_version},
                     {"processor", survey.processor},
                     {"device", survey.device},
                     {"memory_bytes", survey.memory_bytes},
                     {"read_bytes_per_s", survey.read_bytes_per_s}});
}

Result<DeviceSurvey> decode_survey(std::span<const std::byte> payload) {
    EXO_TRY_ASSIGN(const Json json, parse(payload, survey_bytes_max, "the survey of a device"));
    DeviceSurvey survey;
    Fields fields(json, "the survey of a device");
    read_version(fields);
    fields.text("processor", survey.processor, device_bytes_max);
    fields.device_id("device", survey.device);
    fields.number("memory_bytes", survey.memory_bytes);
    fields.rate("read_bytes_per_s", survey.read_bytes_per_s);
    EXO_TRY(fields.finish());
    return survey;
}

net::PlanChecksum plan_checksum(const LoadRequest& request) {
    Json shares = Json::array();
    for (const RankPlan& rank : request.ranks) shares.push_back(share_json(rank));
    const std::vector<std::byte> plan =
        to_bytes({{"version", message_version},
                  {"model_size_bytes", request.model_size_bytes},
                  {"model_checksum", request.model_checksum},
                  {"wire", wire_type_name(request.wire)},
                  {"cache_type", cache_type_name(request.cache_type)},
                  {"weight_layout", weight_layout_name(request.weight_layout)},
                  {"slot_count", request.slot_count},
                  {"context_length", request.context_length},
                  {"link_latency_us", request.link.latency_us},
                  {"link_bytes_per_ms", request.link.bytes_per_ms},
                  {"overlap_tokens_min", request.overlap_tokens_min},
                  {"checks_sums", request.checks_sums},
                  {"shares", std::move(shares)}});
    net::PlanChecksum checksum = {};
    unsigned int size_bytes = 0;
    const int succeeded =
        EVP_Digest(plan.data(), plan.size(), reinterpret_cast<unsigned char*>(checksum.data()),
                   &size_bytes, EVP_sha256(), nullptr);
    EXO_ASSERT(succeeded == 1 && size_bytes == checksum.size());
    return checksum;
}

std::string plan_text(const LoadRequest& request) {
    std::uint32_t layer_count = 0;
    std::uint32_t stage_count = 0;
    std::string heads;
    for (const RankPlan& rank : request.ranks) {
        layer_count = std::max(layer_count, rank.slice.layers.end());
        if (rank.stage == stage_none) continue;
        stage_count = std::max(stage_count, std::uint32_t{rank.stage} + 1);
        heads += std::format("{}{}", heads.empty() ? "" : "+", rank.slice.query_heads.count);
    }
    const std::string name =
        request.model_path.substr(request.model_path.find_last_of('/') + 1, shown_name_bytes_max);
    std::string text = std::format(
        "{}, {} layers, {} ranks, {} stages, {} wire, {} cache, {} slots of {}, heads {}", name,
        layer_count, request.ranks.size(), stage_count, wire_type_name(request.wire),
        cache_type_name(request.cache_type), request.slot_count, request.context_length, heads);
    if (text.size() > net::plan_text_bytes_max) text.resize(net::plan_text_bytes_max);
    return text;
}

}  // namespace exomesh::runner
