#include "platform/page_faults.h"

#include <sys/resource.h>

namespace exomesh::platform {

std::uint64_t major_page_faults() {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return static_cast<std::uint64_t>(usage.ru_majflt);
}

}  // namespace exomesh::platform
