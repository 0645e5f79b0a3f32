#include "device/cpu_topology.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>
#include <utility>

namespace exomesh::device {
namespace {

template <typename Number>
std::optional<Number> read_number(const std::string& path) {
    std::ifstream file(path);
    Number value{};
    if (file >> value) return value;
    return std::nullopt;
}

// Whole cores of cgroup v2's "quota period", rounded up; nothing where there is no quota.
std::optional<std::uint32_t> cgroup_core_quota() {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    std::uint64_t quota_us = 0;
    std::uint64_t period_us = 0;
    if (!(file >> quota_us >> period_us) || quota_us == 0 || period_us == 0) return std::nullopt;
    return static_cast<std::uint32_t>((quota_us + period_us - 1) / period_us);
}

}  // namespace

std::uint32_t physical_core_count() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        const auto online = sysconf(_SC_NPROCESSORS_ONLN);
        return static_cast<std::uint32_t>(std::max(online, 1L));
    }
    std::set<std::pair<long, long>> cores;
    for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
        if (!CPU_ISSET(processor, &allowed)) continue;
        const std::string folder =
            "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology/";
        const auto package = read_number<long>(folder + "physical_package_id");
        const auto core = read_number<long>(folder + "core_id");
        // Without topology every hardware thread counts as a core; -1 keeps them apart from real
        // ids.
        cores.emplace(package && core ? std::pair{*package, *core}
                                      : std::pair{-1L, long{processor}});
    }
    auto count = static_cast<std::uint32_t>(std::max<std::size_t>(cores.size(), 1));
    if (const auto quota = cgroup_core_quota()) count = std::min(count, std::max(*quota, 1U));
    return count;
}

std::string processor_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("model name")) continue;
        const auto colon = line.find(": ");
        if (colon != std::string::npos) return line.substr(colon + 2);
    }
    return "CPU";
}

}  // namespace exomesh::device
