#include "platform/folder.h"

#include <algorithm>
#include <system_error>

namespace exomesh::platform {

std::vector<std::filesystem::path> paths_in(const std::string& folder) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    // A failed increment makes the iterator the end.
    for (std::filesystem::directory_iterator at(folder, error); at != end(at);
         at.increment(error)) {
        paths.push_back(at->path());
    }
    std::ranges::sort(paths);
    return paths;
}

}  // namespace exomesh::platform
