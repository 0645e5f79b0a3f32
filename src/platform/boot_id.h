// Tells machines that are up apart.
#pragma once

#include <string>

namespace exomesh::platform {

// The same for all processes of a machine until it starts anew, in containers too; empty where the
// system has none.
[[nodiscard]] std::string boot_id();

}  // namespace exomesh::platform
