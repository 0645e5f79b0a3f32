#include "main/state_folder.h"

#include <cstdlib>

namespace exomesh::main {

std::string state_folder() {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    if (const std::string own = variable("EXOMESH_STATE"); !own.empty()) return own;
    if (const std::string state = variable("XDG_STATE_HOME"); !state.empty()) {
        return state + "/exomesh";
    }
    return variable("HOME") + "/.local/state/exomesh";
}

}  // namespace exomesh::main
