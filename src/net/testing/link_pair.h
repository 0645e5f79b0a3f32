// Two connected data links in one process, for tests and benches.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "net/identity.h"

namespace exomesh::net::testing {

inline constexpr std::uint64_t patience_ms = 20'000;

// Soon enough for every test, also under sanitizers on a busy machine.
[[nodiscard]] inline Deadline patient() {
    return Deadline::after_ms(patience_ms);
}

struct Device {
    Identity identity;
    TlsContext tls;

    [[nodiscard]] static Device create();
};

// Rank `rank` of `rank_count`, which lets these peers in.
[[nodiscard]] LinkSetup make_setup(const Device& device, std::uint16_t rank,
                                   std::uint16_t rank_count, std::vector<PeerId> allowed);

enum class Transport { tcp, local };

using LinkResults = std::pair<Result<DataLink>, Result<DataLink>>;

// Both ends shake hands at once: the first is the connecting side.
[[nodiscard]] LinkResults try_pair(const LinkSetup& connecting, const LinkSetup& accepting,
                                   Transport transport = Transport::tcp);

// Two devices that know each other, as rank 0 and rank 1.
[[nodiscard]] std::pair<DataLink, DataLink> make_pair(Transport transport = Transport::tcp,
                                                      const LinkOptions& options = {});

// A connected local socket pair.
[[nodiscard]] std::pair<int, int> make_sockets();

}  // namespace exomesh::net::testing
