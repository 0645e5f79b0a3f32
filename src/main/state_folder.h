// Where this program keeps what must last: the device's key.
#pragma once

#include <string>

namespace exomesh::main {

// $EXOMESH_STATE, else $XDG_STATE_HOME/exomesh, else ~/.local/state/exomesh.
[[nodiscard]] std::string state_folder();

}  // namespace exomesh::main
