#include "platform/system_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string_view>

namespace exomesh::platform {

namespace {

// The number behind `key` in a file of lines "key number ..."; 0 where there is none.
std::uint64_t value_of(const std::string& path, std::string_view key) {
    std::ifstream file(path);
    for (std::string word; file >> word;) {
        std::uint64_t value = 0;
        if (word == key && file >> value) return value;
        file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    }
    return 0;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
    std::ifstream file(path);
    std::uint64_t value = 0;
    if (file >> value) return value;
    return std::nullopt;  // also "max", which is no limit
}

// The process's group below /sys/fs/cgroup: "/user.slice/session-1.scope"; "/" in most containers.
std::string control_group(const std::string& root) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("0::/")) return line.substr(3);
    }
    return "/";
}

void apply_limit(const std::string& folder, SystemMemory& memory) {
    const auto limit_bytes = read_number(folder + "/memory.max");
    if (!limit_bytes) return;
    const std::uint64_t charged_bytes = read_number(folder + "/memory.current").value_or(0);
    // The page cache is charged, too, and given back on demand.
    const std::uint64_t cache_bytes = value_of(folder + "/memory.stat", "inactive_file") +
                                      value_of(folder + "/memory.stat", "active_file");
    const std::uint64_t used_bytes = charged_bytes - std::min(charged_bytes, cache_bytes);
    memory.total_bytes = std::min(memory.total_bytes, *limit_bytes);
    memory.free_bytes =
        std::min(memory.free_bytes, *limit_bytes - std::min(*limit_bytes, used_bytes));
}

}  // namespace

SystemMemory system_memory(const std::string& root) {
    const std::string meminfo = root + "/proc/meminfo";
    SystemMemory memory{.total_bytes = value_of(meminfo, "MemTotal:") * 1024,
                        .free_bytes = value_of(meminfo, "MemAvailable:") * 1024};
    // Every group on the way up may have a limit.
    std::string group = control_group(root);
    while (true) {
        while (group.ends_with('/')) group.pop_back();
        apply_limit(root + "/sys/fs/cgroup" + group, memory);
        if (group.empty()) return memory;
        group.erase(group.rfind('/'));
    }
}

Result<> check_memory(std::uint64_t size_bytes) {
    const SystemMemory memory = system_memory();
    if (memory.total_bytes == 0 || size_bytes <= memory.free_bytes) return {};
    const auto mebibytes = [](std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
    return fail(ErrorCode::resource_exhausted, mebibytes(size_bytes) + " of memory are needed, " +
                                                   mebibytes(memory.free_bytes) +
                                                   " are available.");
}

}  // namespace exomesh::platform
