#include "runner/messages.h"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/assert.h"
#include "model/printable.h"

namespace exomesh::runner {
namespace {

//   failure   = code u16 | message length u16 | hint length u16 | message | hint
//   step      = number u32 | slot count u32 | slots
//   slot      = slot u32 | first position u32 | outputs u32 | token count u32
//               | adjustment count u32 | tokens i32 | adjustments
//   outputs   = rows u8 | candidate count u8 | normalizer u8 | 0 u8
//   adjustment = token i32 | bias f32 | repetition f32 | penalty f32
//   copy slot = from u32 | to u32 | length u32
constexpr std::size_t failure_head_bytes = 6;
constexpr std::size_t failure_text_bytes_max = 4096;
constexpr std::size_t step_head_bytes = 8;
constexpr std::size_t slot_head_bytes = 20;
constexpr std::size_t adjustment_bytes = 16;
static_assert(sizeof(engine::LogitAdjustment) == adjustment_bytes);

// The largest step: adjustments have no limit of their own over all slots.
static_assert(step_head_bytes + step_token_count_max * sizeof(model::TokenId) +
                  step_slot_count_max *
                      (slot_head_bytes + engine::adjustment_count_max * adjustment_bytes) <=
              net::frame_payload_bytes_max);

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

template <std::integral T>
void put(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof value);
}

template <std::integral T>
T get(const std::byte* from) {
    T value = 0;
    std::memcpy(&value, from, sizeof value);
    return value;
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unexpected<Error> bad_step(const std::string& why) {
    return fail(ErrorCode::corrupt_data, "the step " + why + ".");
}

static_assert(engine::candidate_count_max <= 0xff);

std::uint32_t pack_outputs(const engine::SlotTokens& slot) {
    return static_cast<std::uint32_t>(slot.outputs) | slot.needs.candidate_count << 8U |
           (slot.needs.normalizer ? 1U << 16U : 0U);
}

Result<void> unpack_outputs(std::uint32_t packed, StepSlot& out) {
    const std::uint32_t rows = packed & 0xffU;
    const std::uint32_t normalizer = packed >> 16U;
    if (rows > static_cast<std::uint32_t>(engine::OutputRows::all) || normalizer > 1)
        return bad_step("asks for output rows of an unknown kind");
    out.outputs = static_cast<engine::OutputRows>(rows);
    out.needs = {.candidate_count = packed >> 8U & 0xffU, .normalizer = normalizer == 1};
    if (out.needs.candidate_count > engine::candidate_count_max)
        return bad_step("asks for too many candidates");
    return {};
}

template <typename T>
Result<void> take_list(std::span<const std::byte>& payload, std::size_t count,
                       std::vector<T>& out) {
    const std::size_t size_bytes = count * sizeof(T);
    if (payload.size() < size_bytes) return bad_step("is cut off");
    out.resize(count);
    if (size_bytes > 0) std::memcpy(out.data(), payload.data(), size_bytes);
    payload = payload.subspan(size_bytes);
    return {};
}

Result<void> check_adjustments(const StepSlot& slot) {
    if (!slot.adjustments.empty() && slot.needs.whole())
        return bad_step("adjusts logits of a whole row");
    model::TokenId before = -1;
    for (const engine::LogitAdjustment& one : slot.adjustments) {
        if (one.token <= before) return bad_step("does not adjust tokens in ascending order");
        if (!one.is_usable()) return bad_step("adjusts a logit by what is no number");
        before = one.token;
    }
    return {};
}

// Reads the slot at the head of `payload` and removes it.
Result<void> take_slot(std::span<const std::byte>& payload, StepSlot& out) {
    if (payload.size() < slot_head_bytes) return bad_step("is cut off");
    const std::byte* from = payload.data();
    out.slot = get<std::uint32_t>(from);
    out.first_position = get<std::uint32_t>(from + 4);
    const auto outputs = get<std::uint32_t>(from + 8);
    const auto token_count = get<std::uint32_t>(from + 12);
    const auto adjustment_count = get<std::uint32_t>(from + 16);
    payload = payload.subspan(slot_head_bytes);
    if (out.slot >= step_slot_count_max)
        return bad_step("names slot " + std::to_string(out.slot) + ", which is too many");
    EXO_TRY(unpack_outputs(outputs, out));
    if (token_count == 0) return bad_step("has a slot without tokens");
    if (token_count > step_token_count_max) return bad_step("has too many tokens");
    if (out.first_position > engine::context_length_max - token_count)
        return bad_step("goes beyond any context");
    if (adjustment_count > engine::adjustment_count_max) return bad_step("adjusts too many logits");
    EXO_TRY(take_list(payload, token_count, out.tokens));
    if (std::ranges::min(out.tokens) < 0) return bad_step("has a negative token");
    EXO_TRY(take_list(payload, adjustment_count, out.adjustments));
    return check_adjustments(out);
}

}  // namespace

bool RankPlan::operator==(const RankPlan& other) const {
    const auto parts = [](const engine::ShardSlice& part) {
        return std::tie(part.layers, part.query_heads, part.key_value_heads, part.feed_forward,
                        part.vocabulary, part.embeds, part.heads);
    };
    return std::tie(host, port, peer_id, stage) ==
               std::tie(other.host, other.port, other.peer_id, other.stage) &&
           parts(slice) == parts(other.slice);
}

engine::SlotTokens StepSlot::view() const {
    engine::SlotTokens out{.slot = slot,
                           .first_position = first_position,
                           .tokens = tokens,
                           .outputs = outputs,
                           .needs = needs};
    out.needs.adjustments = adjustments;
    return out;
}

std::vector<std::byte> encode_failure(const Error& error) {
    const std::string_view whole_message = error.message;
    const std::string_view whole_hint = error.hint;
    const std::string_view message = whole_message.substr(0, failure_text_bytes_max);
    const std::string_view hint = whole_hint.substr(0, failure_text_bytes_max);
    std::vector<std::byte> bytes(failure_head_bytes + message.size() + hint.size());
    put(bytes.data(), static_cast<std::uint16_t>(error.code));
    put(bytes.data() + 2, static_cast<std::uint16_t>(message.size()));
    put(bytes.data() + 4, static_cast<std::uint16_t>(hint.size()));
    const auto texts = std::span(bytes).subspan(failure_head_bytes);
    std::ranges::copy(std::as_bytes(std::span(message)), texts.begin());
    std::ranges::copy(std::as_bytes(std::span(hint)), texts.last(hint.size()).begin());
    return bytes;
}

Error decode_failure(std::span<const std::byte> payload) {
    Error unreadable{ErrorCode::corrupt_data,
                     "the peer failed and said why in a form that cannot be read.",
                     "Run the same version of exomesh everywhere."};
    if (payload.size() < failure_head_bytes) return unreadable;
    const auto code = get<std::uint16_t>(payload.data());
    const std::size_t message_size = get<std::uint16_t>(payload.data() + 2);
    const std::size_t hint_size = get<std::uint16_t>(payload.data() + 4);
    if (code > static_cast<std::uint16_t>(ErrorCode::internal) ||
        message_size > failure_text_bytes_max || hint_size > failure_text_bytes_max ||
        payload.size() != failure_head_bytes + message_size + hint_size) {
        return unreadable;
    }
    Error error{static_cast<ErrorCode>(code),
                model::printable(text_of(payload.subspan(failure_head_bytes, message_size))),
                model::printable(text_of(payload.last(hint_size)))};
    if (error.message.empty()) error.message = "the peer failed and did not say why.";
    return error;
}

void encode_step(std::uint32_t number, std::span<const engine::SlotTokens> batch,
                 std::vector<std::byte>& out) {
    std::size_t size_bytes = step_head_bytes;
    for (const engine::SlotTokens& slot : batch) {
        size_bytes +=
            slot_head_bytes + slot.tokens.size_bytes() + slot.needs.adjustments.size_bytes();
    }
    out.resize(size_bytes);
    put(out.data(), number);
    put(out.data() + 4, static_cast<std::uint32_t>(batch.size()));
    std::byte* to = out.data() + step_head_bytes;
    for (const engine::SlotTokens& slot : batch) {
        put(to, slot.slot);
        put(to + 4, slot.first_position);
        put(to + 8, pack_outputs(slot));
        put(to + 12, static_cast<std::uint32_t>(slot.tokens.size()));
        put(to + 16, static_cast<std::uint32_t>(slot.needs.adjustments.size()));
        to = std::ranges::copy(std::as_bytes(slot.tokens), to + slot_head_bytes).out;
        to = std::ranges::copy(std::as_bytes(slot.needs.adjustments), to).out;
    }
}

Result<void> decode_step(std::span<const std::byte> payload, Step& out) {
    if (payload.size() < step_head_bytes) return bad_step("is cut off");
    out.number = get<std::uint32_t>(payload.data());
    const auto slot_count = get<std::uint32_t>(payload.data() + 4);
    payload = payload.subspan(step_head_bytes);
    if (slot_count == 0) return bad_step("has no slots");
    if (slot_count > step_slot_count_max) return bad_step("has too many slots");
    if (slot_count > payload.size() / slot_head_bytes) return bad_step("is cut off");
    out.slots.resize(slot_count);
    std::size_t token_count = 0;
    for (std::size_t i = 0; i < out.slots.size(); ++i) {
        StepSlot& slot = out.slots[i];
        EXO_TRY(take_slot(payload, slot));
        if (i > 0 && slot.slot <= out.slots[i - 1].slot)
            return bad_step("does not name its slots in ascending order");
        token_count += slot.tokens.size();
        if (token_count > step_token_count_max) return bad_step("has too many tokens");
    }
    if (!payload.empty()) return bad_step("has bytes left over");
    return {};
}

std::array<std::byte, 12> encode_copy_slot(const CopySlot& copy) {
    std::array<std::byte, 12> bytes{};
    put(bytes.data(), copy.from_slot);
    put(bytes.data() + 4, copy.to_slot);
    put(bytes.data() + 8, copy.length);
    return bytes;
}

Result<CopySlot> decode_copy_slot(std::span<const std::byte> payload) {
    if (payload.size() != 12)
        return fail(ErrorCode::corrupt_data, "the copy of a slot has a wrong size.");
    const CopySlot copy{get<std::uint32_t>(payload.data()), get<std::uint32_t>(payload.data() + 4),
                        get<std::uint32_t>(payload.data() + 8)};
    if (copy.from_slot >= step_slot_count_max || copy.to_slot >= step_slot_count_max ||
        copy.length > engine::context_length_max) {
        return fail(ErrorCode::corrupt_data, "the copy of a slot is beyond its limits.");
    }
    return copy;
}

}  // namespace exomesh::runner
