// Joins network namespaces of its own with links as slow as they are told to be: networks of
// several machines on one, for kernels without netem.
//
//     link_emulator HOSTS [SEED]
//
// First it prints one line of JSON: each host's address and the path of its namespace (for setns()
// or `nsenter --net=PATH COMMAND`). Then it takes one command a line from its standard input and
// answers each with a line, "ok" or "error: ...":
//
//     line 0 rate_mbit=100
//     path 0 1 delay_us=150 jitter_us=20 loss=0.01 duplicate=0.01 straggle=0.01
//     path * * loss=1
//     statistics            (answered with JSON)
//
// It ends with its standard input, and with it all devices and namespaces (but those that processes
// are still in), whatever ended it. Exit status 77: not permitted here.
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <format>
#include <print>
#include <string>
#include <string_view>

#include "emulator.h"

namespace {

using exomesh::ErrorCode;
using exomesh::link_emulator::address_of;
using exomesh::link_emulator::Emulator;
using exomesh::link_emulator::host_count_max;

constexpr std::size_t command_bytes_max = 4096;

// Packets cannot wait for a processor: those who compute wait for packets.
const char* become_urgent() {
    ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    const sched_param parameter{.sched_priority = 10};
    if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameter) == 0) return "fifo";
    return ::setpriority(PRIO_PROCESS, 0, -20) == 0 ? "nice" : "normal";
}

void say(const std::string& line) {
    std::println("{}", line);
    std::fflush(stdout);
}

std::string hosts_json(const Emulator& emulator, std::string_view scheduling) {
    std::string hosts;
    for (std::size_t i = 0; i < emulator.hosts().size(); ++i) {
        hosts += std::format(R"({}{{"address": "{}", "namespace": "{}"}})", i == 0 ? "" : ", ",
                             address_of(i), emulator.hosts()[i].namespace_path());
    }
    return std::format(R"({{"hosts": [{}], "scheduling": "{}"}})", hosts, scheduling);
}

double processor_s() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string statistics_json(const Emulator& emulator) {
    const auto& statistics = emulator.statistics();
    return std::format(R"({{"packets": {}, "wire_bytes": {}, "lost": {}, "dropped": {}, )"
                       R"("late_us_sum": {:.1f}, "late_us_max": {:.1f}, "processor_s": {:.4f}}})",
                       statistics.packet_count, statistics.wire_bytes, statistics.lost_count,
                       statistics.dropped_count, static_cast<double>(statistics.late_ns_sum) / 1e3,
                       static_cast<double>(statistics.late_ns_max) / 1e3, processor_s());
}

void answer(Emulator& emulator, std::string_view line) {
    if (line == "statistics") return say(statistics_json(emulator));
    const auto done = emulator.command(line);
    say(done ? "ok" : "error: " + done.error().text());
}

// Takes commands and carries packets until the standard input ends.
int serve(Emulator& emulator) {
    std::string pending;
    std::array<char, command_bytes_max> buffer{};
    while (true) {
        if (const auto carried = emulator.run_until_readable(STDIN_FILENO); !carried) {
            std::println(stderr, "error: {}", carried.error().text());
            return 1;
        }
        const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (count <= 0 || pending.size() > command_bytes_max) return count == 0 ? 0 : 1;
        pending.append(buffer.data(), static_cast<std::size_t>(count));
        for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
            answer(emulator, std::string_view(pending).substr(0, end));
            pending.erase(0, end + 1);
        }
    }
}

template <typename T>
bool parse(std::string_view text, T& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

int main(int count, char** arguments) {
    std::size_t host_count = 0;
    std::uint64_t seed = 1;
    if (count < 2 || count > 3 || !parse(arguments[1], host_count) || host_count < 1 ||
        host_count > host_count_max || (count == 3 && !parse(arguments[2], seed))) {
        std::println(stderr, "usage: link_emulator HOSTS [SEED]     (1 to {} hosts)",
                     host_count_max);
        return 2;
    }
    auto emulator = Emulator::create(host_count, seed);
    if (!emulator) {
        std::println(stderr, "error: {}", emulator.error().text());
        constexpr int skipped = 77;
        return emulator.error().code == ErrorCode::unsupported ? skipped : 1;
    }
    const char* const scheduling = become_urgent();
    say(hosts_json(**emulator, scheduling));
    return serve(**emulator);
}
