// What this process had to wait for because memory was not there.
#pragma once

#include <cstdint>

namespace exomesh::platform {

// How often, so far, any thread of this process waited for a page to be read from disk: of a mapped
// file, or swapped out.
[[nodiscard]] std::uint64_t major_page_faults();

}  // namespace exomesh::platform
