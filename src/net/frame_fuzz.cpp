// Any bytes as the frames of a peer: a header, then a payload that may be a hello.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "net/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using exomesh::net::frame_header_size_bytes;
    auto bytes = std::as_bytes(std::span(data, size));
    if (bytes.size() >= frame_header_size_bytes) {
        const auto head = bytes.first<frame_header_size_bytes>();
        // The number is the peer's as well: try the one it names.
        std::uint32_t sequence = 0;
        for (std::size_t i = 0; i < 4; ++i) sequence |= std::uint32_t{data[4 + i]} << (8 * i);
        const auto header = exomesh::net::decode_frame_header(head, sequence);
        if (header) {
            EXO_ASSERT(header->payload_size_bytes <= exomesh::net::frame_payload_bytes_max);
            EXO_ASSERT(std::ranges::equal(exomesh::net::encode_frame_header(*header), head));
            EXO_ASSERT(!exomesh::net::decode_frame_header(head, sequence + 1));
        } else {
            EXO_ASSERT(!header.error().message.empty());
        }
        bytes = bytes.subspan(frame_header_size_bytes);
    }
    const auto hello = exomesh::net::decode_hello(bytes);
    if (!hello) return 0;
    const auto encoded = exomesh::net::encode_hello(*hello);
    EXO_ASSERT(encoded && std::ranges::equal(*encoded, bytes));
    auto ours = *hello;
    EXO_ASSERT(!exomesh::net::check_hello(ours, *hello));  // both the same rank
    ours.rank = static_cast<std::uint16_t>(hello->rank + 1);
    EXO_ASSERT(exomesh::net::check_hello(ours, *hello));
    ours.plan_checksum[0] ^= std::byte{1};
    const auto differs = exomesh::net::check_hello(ours, *hello);
    EXO_ASSERT(!differs);
    EXO_ASSERT(std::ranges::all_of(differs.error().message,
                                   [](char c) { return c >= 0x20 && c <= 0x7e; }));
    return 0;
}
