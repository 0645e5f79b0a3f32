// What child_process.cpp and supervised_child.cpp share: pipes and the environment of a program
// that is about to be started.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "platform/descriptor.h"

namespace exomesh::platform {

struct Pipe {
    Descriptor reader;
    Descriptor writer;
};

// Both ends are closed on exec and lie above the three standard descriptors, so that they can be
// duplicated onto those in any order.
[[nodiscard]] Result<Pipe> make_pipe();

// Entries "name=value": this process's environment with `changes` on top.
[[nodiscard]] std::vector<std::string> merged_environment(
    const std::vector<std::pair<std::string, std::string>>& changes);

// The form exec wants: ends with a null pointer and is valid as long as `texts` is left alone.
[[nodiscard]] std::vector<char*> as_pointers(std::vector<std::string>& texts);

}  // namespace exomesh::platform
