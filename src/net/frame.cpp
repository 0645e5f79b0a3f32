#include "net/frame.h"

#include <algorithm>
#include <concepts>
#include <cstring>

#include "base/assert.h"

namespace exomesh::net {
namespace {

// 0xE7 marks a frame, the low byte is the version of its layout.
constexpr std::uint16_t magic_version = 0xE701;

template <std::unsigned_integral T>
void put(std::byte* to, T value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
        to[i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
}

template <std::unsigned_integral T>
T get(const std::byte* from) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i)
        value = static_cast<T>(value | static_cast<T>(std::to_integer<T>(from[i]) << (8 * i)));
    return value;
}

constexpr std::size_t session_offset = 8;
constexpr std::size_t checksum_offset = session_offset + sizeof(SessionId);
static_assert(checksum_offset + sizeof(PlanChecksum) == hello_fixed_size_bytes);

// A peer's text, as shown to people: no control characters, nothing beyond ASCII.
std::string printable(const std::string& text) {
    std::string shown = text;
    std::ranges::replace_if(shown, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    return shown;
}

std::string hexadecimal(std::span<const std::byte> bytes) {
    constexpr const char* digits = "0123456789abcdef";
    constexpr std::size_t shown_bytes = 6;
    std::string text;
    for (const std::byte byte : bytes.first(std::min(bytes.size(), shown_bytes))) {
        text += digits[std::to_integer<unsigned>(byte) >> 4];
        text += digits[std::to_integer<unsigned>(byte) & 0xf];
    }
    return text;
}

std::unexpected<Error> differs(const std::string& what, const std::string& ours,
                               const std::string& theirs, const char* hint) {
    return fail(ErrorCode::invalid_argument,
                what + " differs: " + ours + " here, " + theirs + " there.", hint);
}

}  // namespace

std::array<std::byte, frame_header_size_bytes> encode_frame_header(const FrameHeader& header) {
    std::array<std::byte, frame_header_size_bytes> bytes{};
    put(bytes.data(), magic_version);
    put(bytes.data() + 2, static_cast<std::uint16_t>(header.type));
    put(bytes.data() + 4, header.sequence);
    put(bytes.data() + 8, header.payload_size_bytes);
    return bytes;
}

Result<FrameHeader> decode_frame_header(std::span<const std::byte, frame_header_size_bytes> bytes,
                                        std::uint32_t expected_sequence) {
    const auto magic = get<std::uint16_t>(bytes.data());
    if (magic != magic_version) {
        const bool is_frame = magic >> 8 == magic_version >> 8;
        return fail(ErrorCode::corrupt_data,
                    is_frame ? "the frame is of another version." : "this is no frame.",
                    is_frame ? "Run the same version of exomesh everywhere." : "");
    }
    const FrameHeader header{static_cast<FrameType>(get<std::uint16_t>(bytes.data() + 2)),
                             get<std::uint32_t>(bytes.data() + 4),
                             get<std::uint32_t>(bytes.data() + 8)};
    if (header.type != FrameType::hello && header.type < FrameType::first_of_caller) {
        return fail(ErrorCode::corrupt_data,
                    "the frame has the unknown type " +
                        std::to_string(static_cast<std::uint16_t>(header.type)) + ".");
    }
    if (header.sequence != expected_sequence) {
        return fail(ErrorCode::corrupt_data,
                    "the frame has number " + std::to_string(header.sequence) + " where " +
                        std::to_string(expected_sequence) + " was to come.");
    }
    if (header.payload_size_bytes > frame_payload_bytes_max) {
        return fail(ErrorCode::corrupt_data,
                    "the frame announces " + std::to_string(header.payload_size_bytes) +
                        " bytes, " + std::to_string(frame_payload_bytes_max) + " are allowed.");
    }
    return header;
}

Result<std::vector<std::byte>> encode_hello(const Hello& hello) {
    if (hello.rank_count < 1 || hello.rank_count > rank_count_max ||
        hello.rank >= hello.rank_count) {
        return fail(
            ErrorCode::invalid_argument,
            "there is no rank " + std::to_string(hello.rank) + " of " +
                std::to_string(hello.rank_count) + ".",
            "Ranks count from 0, and there are at most " + std::to_string(rank_count_max) + ".");
    }
    if (hello.plan_text.size() > plan_text_bytes_max)
        return fail(ErrorCode::invalid_argument, "the text of the plan is too long.");
    std::vector<std::byte> bytes(hello_fixed_size_bytes + hello.plan_text.size());
    put(bytes.data(), hello.protocol_version);
    put(bytes.data() + 2, hello.rank);
    put(bytes.data() + 4, hello.rank_count);
    put(bytes.data() + 6, static_cast<std::uint16_t>(hello.plan_text.size()));
    std::ranges::copy(hello.session_id, bytes.begin() + session_offset);
    std::ranges::copy(hello.plan_checksum, bytes.begin() + checksum_offset);
    std::memcpy(bytes.data() + hello_fixed_size_bytes, hello.plan_text.data(),
                hello.plan_text.size());
    return bytes;
}

Result<Hello> decode_hello(std::span<const std::byte> payload) {
    const auto bad = [](const char* why) {
        return fail(ErrorCode::corrupt_data, std::string("the hello ") + why + ".");
    };
    if (payload.size() < hello_fixed_size_bytes) return bad("is too short");
    Hello hello;
    hello.protocol_version = get<std::uint16_t>(payload.data());
    hello.rank = get<std::uint16_t>(payload.data() + 2);
    hello.rank_count = get<std::uint16_t>(payload.data() + 4);
    const std::size_t text_size = get<std::uint16_t>(payload.data() + 6);
    if (text_size > plan_text_bytes_max || payload.size() != hello_fixed_size_bytes + text_size)
        return bad("has a wrong size");
    if (hello.rank_count < 1 || hello.rank_count > rank_count_max ||
        hello.rank >= hello.rank_count) {
        return bad("names an impossible rank");
    }
    std::ranges::copy(payload.subspan(session_offset, sizeof(SessionId)), hello.session_id.begin());
    std::ranges::copy(payload.subspan(checksum_offset, sizeof(PlanChecksum)),
                      hello.plan_checksum.begin());
    const auto text = payload.subspan(hello_fixed_size_bytes);
    hello.plan_text.assign(reinterpret_cast<const char*>(text.data()), text.size());
    return hello;
}

Result<void> check_hello(const Hello& ours, const Hello& theirs) {
    const auto number = [](std::uint16_t value) { return std::to_string(value); };
    if (ours.protocol_version != theirs.protocol_version) {
        return differs("the protocol version", number(ours.protocol_version),
                       number(theirs.protocol_version),
                       "Run the same version of exomesh everywhere.");
    }
    if (ours.session_id != theirs.session_id) {
        return differs("the session", hexadecimal(ours.session_id), hexadecimal(theirs.session_id),
                       "A rank of an earlier start may still run: stop it.");
    }
    if (ours.rank_count != theirs.rank_count) {
        return differs("the number of ranks", number(ours.rank_count), number(theirs.rank_count),
                       "Start all ranks with the same split.");
    }
    if (ours.rank == theirs.rank) {
        return fail(ErrorCode::invalid_argument, "both ends are rank " + number(ours.rank) + ".",
                    "Give each rank a number of its own.");
    }
    if (ours.plan_checksum != theirs.plan_checksum) {
        const auto plan = [](const Hello& hello) {
            const std::string text =
                hello.plan_text.empty() ? "" : printable(hello.plan_text) + " ";
            return "'" + text + hexadecimal(hello.plan_checksum) + "'";
        };
        return differs("the plan (model, shares or wire type)", plan(ours), plan(theirs),
                       "Start all ranks with the same model file, shares and wire type.");
    }
    return {};
}

}  // namespace exomesh::net
