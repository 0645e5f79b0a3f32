#include "device/trust.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <optional>
#include <utility>

#include "device/cache_file.h"
#include "platform/child_process.h"
#include "platform/clock.h"

namespace exomesh::device {
namespace {

// The last line of what a dying program wrote: usually its reason.
std::string last_line(std::string_view text) {
    constexpr std::size_t length_max = 200;
    while (text.ends_with('\n')) text.remove_suffix(1);
    const auto newline = text.rfind('\n');
    if (newline != std::string_view::npos) text.remove_prefix(newline + 1);
    return std::string(text.substr(0, length_max));
}

SelfTestReport faulty(const Device& device, std::string fault) {
    SelfTestReport report;
    report.identity = device_identity(device.facts);
    report.fault = std::move(fault);
    return report;
}

// What the child says on standard error before each operation: "case 3/40 mul_mat q4_0 x 1".
// Drivers write there too, so that any other line is passed over.
constexpr std::string_view case_prefix = "case ";

void print_case(std::size_t done, std::size_t total, std::string_view name) {
    std::fprintf(stderr, "%s%zu/%zu %.*s\n", case_prefix.data(), done, total,
                 static_cast<int>(name.size()), name.data());
}

// Takes the last case that `errors` names into `progress`, whose texts then point into it.
void read_case(std::string_view errors, SelfTestProgress& progress) {
    errors = errors.substr(0, errors.rfind('\n') + 1);  // whole lines
    const auto begin = errors.rfind(case_prefix);
    if (begin == std::string_view::npos) return;
    const auto line = errors.substr(begin, errors.find('\n', begin) - begin);
    const auto* const end = line.data() + line.size();
    std::size_t done = 0;
    std::size_t total = 0;
    const auto [slash, no_done] = std::from_chars(line.data() + case_prefix.size(), end, done);
    if (no_done != std::errc() || slash == end || *slash != '/') return;
    const auto [space, no_total] = std::from_chars(slash + 1, end, total);
    if (no_total != std::errc() || space == end || *space != ' ' || done >= total) return;
    progress.done = done;
    progress.total = total;
    progress.operation = {space + 1, end};
}

Result<SelfTestReport> test_in_child(const Device& device, const TrustOptions& options,
                                     const std::vector<std::string>& groups,
                                     const std::function<void(SelfTestProgress&)>& on_progress) {
    platform::ChildCommand command{
        .arguments = {options.program, std::string(self_test_command), device.facts.id},
        .environment = {},
        .timeout_ms = options.timeout_ms,
        .on_wait = [&](std::string_view errors) {
            SelfTestProgress progress{.phase = SelfTestProgress::Phase::runs,
                                      .device = device.facts};
            read_case(errors, progress);
            on_progress(progress);
        }};
    std::ranges::copy(groups, std::back_inserter(command.arguments));
    EXO_TRY_ASSIGN(const auto child, platform::run_child(command));
    SelfTestProgress last{.device = device.facts};
    read_case(child.errors, last);
    const auto where = last.total == 0 ? std::string() : " at " + std::string(last.operation);
    switch (child.end) {
        case platform::ChildEnd::timed_out:
            return faulty(device, "its self-test did not end within " +
                                      std::to_string(options.timeout_ms / 1000) + " s" + where);
        case platform::ChildEnd::killed_by_signal:
            return faulty(device, std::string("its driver crashed in the self-test (") +
                                      ::strsignal(child.code) + ")" + where);
        case platform::ChildEnd::exited:
            break;
    }
    if (child.code != 0) return faulty(device, "its self-test failed: " + last_line(child.errors));
    auto report = report_from_json(child.output);
    if (!report) return faulty(device, report.error().message);
    if (report->identity != device_identity(device.facts)) {
        return faulty(device, "its self-test ran on another device: " + report->identity);
    }
    for (const auto& group : groups) {
        if (!std::ranges::contains(report->operations, group, &OperationResult::group)) {
            return faulty(device, "its self-test left out the " + group);
        }
    }
    return report;
}

// Tests the groups that no cache vouches for, and tells how far that is.
Result<SelfTestReport> test(const Device& device, const Device& cpu, const TrustOptions& options,
                            const std::vector<std::string>& groups) {
    using Phase = SelfTestProgress::Phase;
    const auto begin_us = platform::monotonic_us();
    const auto on_progress = [&](SelfTestProgress& progress) {
        progress.elapsed_us = platform::monotonic_us() - begin_us;
        if (options.on_progress) options.on_progress(progress);
    };
    SelfTestProgress begins{.phase = Phase::begins, .device = device.facts};
    on_progress(begins);
    const auto on_case = [&](std::size_t done, std::size_t total, std::string_view name) {
        SelfTestProgress runs{Phase::runs, device.facts, done, total, name};
        on_progress(runs);
    };
    auto report = options.program.empty()
                      ? run_self_test(device, cpu, {.groups = groups, .on_case = on_case})
                      : test_in_child(device, options, groups, on_progress);
    SelfTestProgress ended{.phase = Phase::ended, .device = device.facts};
    on_progress(ended);
    return report;
}

// What `report` says of one of `group_count` groups; a fault is the fault of every group that was
// tested with it.
SelfTestReport part_of(const SelfTestReport& report, const std::string& group,
                       std::size_t group_count) {
    SelfTestReport part = report;
    part.duration_us /= group_count;
    std::erase_if(part.operations, [&](const auto& operation) { return operation.group != group; });
    return part;
}

void append(SelfTestReport& report, SelfTestReport part) {
    report.duration_us += part.duration_us;
    if (report.fault.empty()) report.fault = std::move(part.fault);
    std::ranges::move(part.operations, std::back_inserter(report.operations));
}

std::optional<SelfTestReport> cached_report(const std::string& path, const std::string& identity) {
    const auto cached = read_cache(path);
    if (!cached) return std::nullopt;
    auto report = report_from_json(cached->text);
    if (!report || report->identity != identity) return std::nullopt;
    const bool is_old = platform::unix_s() - cached->written_s > fault_lifetime_s;
    if (!report->fault.empty() && is_old) return std::nullopt;
    return *std::move(report);
}

}  // namespace

bool are_self_tests_wanted() {
    const char* wanted = std::getenv("EXOMESH_SELF_TEST");
    return wanted == nullptr || std::string_view(wanted) != "off";
}

std::string self_test_folder() {
    return cache_folder("self-test");
}

Result<SelfTestReport> trusted_report(const Device& device, const Device& cpu,
                                      const TrustOptions& options) {
    SelfTestReport report;
    report.identity = device_identity(device.facts);
    const auto folder = options.cache_folder.empty() ? self_test_folder() : options.cache_folder;
    const auto path_of = [&](const std::string& group) {
        return cache_path(folder, report.identity + " | " + group);
    };
    std::vector<std::string> missing;
    for (auto& group : options.groups.empty() ? self_test_groups() : options.groups) {
        if (auto cached = cached_report(path_of(group), report.identity)) {
            append(report, *std::move(cached));
        } else {
            missing.push_back(group);
        }
    }
    if (missing.empty()) return report;
    EXO_TRY_ASSIGN(auto tested, test(device, cpu, options, missing));
    for (const auto& group : missing) {
        write_cache(path_of(group), report_to_json(part_of(tested, group, missing.size())));
    }
    append(report, std::move(tested));
    return report;
}

int run_self_test_command(std::string_view device_id, const std::vector<std::string>& groups) {
    const auto known = self_test_groups();
    for (const auto& group : groups) {
        if (std::ranges::contains(known, group)) continue;
        std::fprintf(stderr, "there is no group '%s' in the self-test\n", group.c_str());
        return 1;
    }
    const auto devices = DeviceRegistry::instance().devices();
    if (!devices) {
        std::fprintf(stderr, "%s\n", devices.error().text().c_str());
        return 1;
    }
    for (const auto& device : *devices) {
        if (device.facts.id != device_id) continue;
        const auto report =
            run_self_test(device, devices->front(), {.groups = groups, .on_case = print_case});
        if (!report) {
            std::fprintf(stderr, "%s\n", report.error().text().c_str());
            return 1;
        }
        std::fputs(report_to_json(*report).c_str(), stdout);
        return 0;
    }
    std::fprintf(stderr, "there is no device '%.*s'\n", static_cast<int>(device_id.size()),
                 device_id.data());
    return 1;
}

}  // namespace exomesh::device
