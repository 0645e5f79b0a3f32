#include "device/trust.h"

#include <cstdio>
#include <cstring>
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

Result<SelfTestReport> test_in_child(const Device& device, const TrustOptions& options) {
    const platform::ChildCommand command{
        .arguments = {options.program, std::string(self_test_command), device.facts.id},
        .environment = {},
        .timeout_ms = options.timeout_ms};
    EXO_TRY_ASSIGN(const auto child, platform::run_child(command));
    switch (child.end) {
        case platform::ChildEnd::timed_out:
            return faulty(device, "its self-test did not end within " +
                                      std::to_string(options.timeout_ms / 1000) + " s");
        case platform::ChildEnd::killed_by_signal:
            return faulty(device, std::string("its driver crashed in the self-test (") +
                                      ::strsignal(child.code) + ")");
        case platform::ChildEnd::exited:
            break;
    }
    if (child.code != 0) return faulty(device, "its self-test failed: " + last_line(child.errors));
    auto report = report_from_json(child.output);
    if (!report) return faulty(device, report.error().message);
    if (report->identity != device_identity(device.facts)) {
        return faulty(device, "its self-test ran on another device: " + report->identity);
    }
    return report;
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

std::string self_test_folder() {
    return cache_folder("self-test");
}

Result<SelfTestReport> trusted_report(const Device& device, const Device& cpu,
                                      const TrustOptions& options) {
    const auto identity = device_identity(device.facts);
    const auto folder = options.cache_folder.empty() ? self_test_folder() : options.cache_folder;
    const auto path = cache_path(folder, identity);
    if (auto cached = cached_report(path, identity)) return *std::move(cached);
    if (options.on_test) options.on_test(device.facts);
    auto report =
        options.program.empty() ? run_self_test(device, cpu) : test_in_child(device, options);
    if (report) write_cache(path, report_to_json(*report));
    return report;
}

int run_self_test_command(std::string_view device_id) {
    const auto devices = DeviceRegistry::instance().devices();
    if (!devices) {
        std::fprintf(stderr, "%s\n", devices.error().text().c_str());
        return 1;
    }
    for (const auto& device : *devices) {
        if (device.facts.id != device_id) continue;
        const auto report = run_self_test(device, devices->front());
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
