// The bytes of a data link inside TLS, without any I/O.
//
//   frame   = magic_version u16 | type u16 | sequence u32 | payload length u32 | payload
//   hello   = protocol version u16 | rank u16 | rank count u16 | plan text length u16
//             | session id 16 bytes | plan checksum 32 bytes | plan text
//
// All integers little-endian. Each direction numbers its frames from 0; the first is the hello, the
// only one of its type. A frame begins with a new TLS record.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace exomesh::net {

inline constexpr std::size_t frame_header_size_bytes = 12;
inline constexpr std::size_t frame_payload_bytes_max = std::size_t{64} << 20;
inline constexpr std::size_t hello_fixed_size_bytes = 56;
inline constexpr std::size_t plan_text_bytes_max = 256;
inline constexpr std::uint16_t rank_count_max = 1024;
inline constexpr std::uint16_t link_protocol_version = 2;

// Values from first_of_caller on are the caller's: FrameType{16}, FrameType{17}, ...
enum class FrameType : std::uint16_t { hello = 1, first_of_caller = 16 };

struct FrameHeader {
    FrameType type = FrameType::hello;
    std::uint32_t sequence = 0;
    std::uint32_t payload_size_bytes = 0;

    friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

[[nodiscard]] std::array<std::byte, frame_header_size_bytes> encode_frame_header(
    const FrameHeader& header);

// corrupt_data where the bytes are no header of this version, the payload is too large, or the
// sequence number is not the expected one.
[[nodiscard]] Result<FrameHeader> decode_frame_header(
    std::span<const std::byte, frame_header_size_bytes> bytes, std::uint32_t expected_sequence);

using SessionId = std::array<std::byte, 16>;
using PlanChecksum = std::array<std::byte, 32>;

// What a rank says of itself first. Ranks whose session, rank count or plan differ must not compute
// together: their sums would be of different things.
struct Hello {
    std::uint16_t protocol_version = link_protocol_version;
    std::uint16_t rank = 0;
    std::uint16_t rank_count = 0;
    SessionId session_id = {};        // one number for all ranks of an instance, new at each start
    PlanChecksum plan_checksum = {};  // over the model's hash, all shares and the wire type
    std::string plan_text = {};       // the same for people, shown where checksums differ

    friend bool operator==(const Hello&, const Hello&) = default;
};

// invalid_argument where a field is beyond its limit.
[[nodiscard]] Result<std::vector<std::byte>> encode_hello(const Hello& hello);
[[nodiscard]] Result<Hello> decode_hello(std::span<const std::byte> payload);

// invalid_argument that names what differs where the two must not work together.
[[nodiscard]] Result<void> check_hello(const Hello& ours, const Hello& theirs);

}  // namespace exomesh::net
