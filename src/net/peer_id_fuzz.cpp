// Any bytes as the name of a peer: its text as people type it, and its multihash.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/assert.h"
#include "net/peer_id.h"

namespace {

void check(const exomesh::Result<exomesh::net::PeerId>& id) {
    if (!id) {
        EXO_ASSERT(!id.error().message.empty());
        return;
    }
    const auto from_text = exomesh::net::PeerId::parse(id->text());
    EXO_ASSERT(from_text && *from_text == *id);
    const auto from_bytes = exomesh::net::PeerId::from_bytes(id->bytes());
    EXO_ASSERT(from_bytes && *from_bytes == *id);
    EXO_ASSERT(id->text().ends_with(id->short_text()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check(exomesh::net::PeerId::parse({reinterpret_cast<const char*>(data), size}));
    check(exomesh::net::PeerId::from_bytes(std::as_bytes(std::span(data, size))));
    return 0;
}
