// Any text as the address of a worker: what is accepted is read back from how a worker announces
// it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "runner/worker_address.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto address = exomesh::runner::parse_worker_address(text);
    if (!address) {
        EXO_ASSERT(!address.error().message.empty());
        return 0;
    }
    EXO_ASSERT(!address->host.empty() && address->port != 0);
    const auto again = exomesh::runner::parse_announcement(
        exomesh::runner::announcement(address->host, address->port, address->peer_id));
    EXO_ASSERT(again && again->host == address->host && again->port == address->port);
    EXO_ASSERT(again->peer_id == address->peer_id);
    return 0;
}
