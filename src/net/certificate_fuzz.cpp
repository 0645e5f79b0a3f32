// Any bytes as a peer's certificate, and as the extension in it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "net/certificate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto id = exomesh::net::verify_certificate(bytes, 1'800'000'000);
    if (id) {
        const auto parsed = exomesh::net::PeerId::parse(id->text());
        EXO_ASSERT(parsed && *parsed == *id);
    } else {
        EXO_ASSERT(!id.error().message.empty());
    }
    const auto key = exomesh::net::parse_signed_key(bytes);
    // There is one encoding of each value, so what was accepted is what we would have written.
    if (key) EXO_ASSERT(std::ranges::equal(exomesh::net::encode_signed_key(*key), bytes));
    const auto public_key = exomesh::net::decode_public_key(bytes);
    if (public_key)
        EXO_ASSERT(std::ranges::equal(exomesh::net::encode_public_key(*public_key), bytes));
    return 0;
}
