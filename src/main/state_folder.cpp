#include "main/state_folder.h"

#include <cstdlib>

namespace exomesh::main {

Result<std::string> state_folder() {
    const auto variable = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    if (std::string own = variable("EXOMESH_STATE"); !own.empty()) return own;
    if (const std::string state = variable("XDG_STATE_HOME"); !state.empty()) {
        return state + "/exomesh";
    }
    if (const std::string home = variable("HOME"); !home.empty()) {
        return home + "/.local/state/exomesh";
    }
    return fail(ErrorCode::invalid_argument, "nothing says where this device's key is kept.",
                "Set HOME, or XDG_STATE_HOME to a folder that lasts.");
}

Result<net::Identity> kept_identity() {
    EXO_TRY_ASSIGN(const std::string folder, state_folder());
    return net::Identity::load_or_generate(folder);
}

}  // namespace exomesh::main
