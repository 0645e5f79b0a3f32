// Where this program keeps what must last: the device's key.
#pragma once

#include <string>

#include "base/result.h"
#include "net/identity.h"

namespace exomesh::main {

// $EXOMESH_STATE, else $XDG_STATE_HOME/exomesh, else ~/.local/state/exomesh. invalid_argument where
// none of them is said.
[[nodiscard]] Result<std::string> state_folder();

// This device's key, made the first time. Errors as of state_folder() and
// net::Identity::load_or_generate().
[[nodiscard]] Result<net::Identity> kept_identity();

}  // namespace exomesh::main
