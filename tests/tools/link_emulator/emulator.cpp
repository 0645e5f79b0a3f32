#include "emulator.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>
#include <ranges>

namespace exomesh::link_emulator {

namespace {

constexpr std::size_t packets_at_once_max = 64;
// A host whose line has that much to send waits with more, as for a full network card: the queue
// then is the kernel's (500 packets), and TCP notices.
constexpr std::int64_t backlog_ns_max = 1'000'000;

// Timers come late, most of the time by about as much as the last ones did.
constexpr std::int64_t lead_ns_max = 50'000;
constexpr std::int64_t lead_weight = 16;     // of what was known against the newest
constexpr std::int64_t early_ns_max = 3000;  // that much before its time a packet may be delivered

std::int64_t clock_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    for (const auto word : std::views::split(text, ' ')) {
        if (!word.empty()) words.emplace_back(word.begin(), word.end());
    }
    return words;
}

template <typename T>
std::optional<T> number_of(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::unexpected<Error> refuse(std::string_view what, std::string_view word) {
    return fail(ErrorCode::invalid_argument, std::string(what) + ": '" + std::string(word) + "'.");
}

}  // namespace

Emulator::Emulator(std::vector<Host> hosts, std::uint64_t seed)
    : hosts_(std::move(hosts)), lines_(hosts_.size()), buffer_(packet_bytes_max) {
    for (std::size_t i = 0; i < hosts_.size() * hosts_.size(); ++i) paths_.emplace_back(seed + i);
}

Result<std::unique_ptr<Emulator>> Emulator::create(std::size_t host_count, std::uint64_t seed) {
    std::vector<Host> hosts;
    for (std::size_t index = 0; index < host_count; ++index) {
        EXO_TRY_ASSIGN(Host host, Host::create(index));
        hosts.push_back(std::move(host));
    }
    return std::unique_ptr<Emulator>(new Emulator(std::move(hosts), seed));
}

Result<std::vector<std::size_t>> Emulator::hosts_of(std::string_view text) const {
    std::vector<std::size_t> found;
    const auto number = number_of<std::size_t>(text);
    for (std::size_t host = 0; host < hosts_.size(); ++host) {
        if (text == "*" || number == host) found.push_back(host);
    }
    if (found.empty()) return refuse("no such host", text);
    return found;
}

Result<> Emulator::set_line(std::size_t host, std::string_view key, double value) {
    if (key != "rate_mbit") return refuse("a line has no", key);
    lines_[host].options.rate_mbit = value;
    return {};
}

Result<> Emulator::set_path(std::size_t from, std::size_t to, std::string_view key, double value) {
    PathOptions& options = path(from, to).options;
    if (key == "delay_us") {
        options.delay_us = value;
    } else if (key == "jitter_us") {
        options.jitter_us = value;
    } else if (key == "loss") {
        options.loss = value;
    } else if (key == "duplicate") {
        options.duplicate = value;
    } else if (key == "straggle") {
        options.straggle = value;
    } else if (key == "straggle_us") {
        options.straggle_us = value;
    } else {
        return refuse("a path has no", key);
    }
    return {};
}

// One lost packet must not be 40 segments.
Result<> Emulator::set_segmentation() {
    const bool in_kernel =
        std::ranges::none_of(paths_, [](const Path& path) { return path.options.has_faults(); });
    for (Host& host : hosts_) EXO_TRY(host.set_segmentation(in_kernel));
    return {};
}

Result<> Emulator::command(std::string_view text) {
    const auto words = words_of(text);
    const bool is_path = !words.empty() && words[0] == "path";
    const std::size_t host_words = is_path ? 2 : 1;
    if (words.size() <= host_words || (!is_path && words[0] != "line")) {
        return refuse("neither 'line HOST ...' nor 'path FROM TO ...'", text);
    }
    EXO_TRY_ASSIGN(const auto from, hosts_of(words[1]));
    EXO_TRY_ASSIGN(const auto to, hosts_of(words[host_words]));
    for (const std::string_view word : words | std::views::drop(1 + host_words)) {
        const std::size_t equals = std::min(word.find('='), word.size());
        const auto value = number_of<double>(word.substr(std::min(equals + 1, word.size())));
        if (!value || !(*value >= 0)) return refuse("not KEY=NUMBER of at least 0", word);
        for (const std::size_t host : from) {
            if (!is_path) EXO_TRY(set_line(host, word.substr(0, equals), *value));
            if (!is_path) continue;
            for (const std::size_t other : to) {
                EXO_TRY(set_path(host, other, word.substr(0, equals), *value));
            }
        }
    }
    return set_segmentation();
}

Result<> Emulator::run_until_readable(int control) {
    std::vector<pollfd> polled(hosts_.size() + 1);
    while (true) {
        const std::int64_t now_ns = clock_ns();
        for (std::size_t host = 0; host < hosts_.size(); ++host) {
            const bool is_full = lines_[host].backlog_ns(now_ns) > backlog_ns_max;
            polled[host] = {is_full ? -1 : hosts_[host].device(), POLLIN, 0};
        }
        polled.back() = {control, POLLIN, 0};
        EXO_TRY_ASSIGN(const std::size_t count, wait(polled));
        deliver_due();
        if (count == 0) continue;
        for (std::size_t host = 0; host < hosts_.size(); ++host) {
            if ((polled[host].revents & POLLIN) != 0) take_from(host);
        }
        if (polled.back().revents != 0) return {};
    }
}

// Until a packet comes or is due: the number of devices that have some.
Result<std::size_t> Emulator::wait(std::span<pollfd> polled) {
    const std::int64_t now_ns = clock_ns();
    const std::int64_t end_ns = next_ns(now_ns) - lead_ns_;
    const std::int64_t left_ns = std::max<std::int64_t>(end_ns - now_ns, 0);
    const timespec timeout{static_cast<std::time_t>(left_ns / 1'000'000'000),
                           static_cast<long>(left_ns % 1'000'000'000)};
    const int count = ::ppoll(polled.data(), polled.size(), &timeout, nullptr);
    if (count < 0 && errno != EINTR) return fail(ErrorCode::io, "cannot wait for packets.");
    if (count == 0 && left_ns > 0) {
        const std::int64_t late_ns = std::clamp<std::int64_t>(clock_ns() - end_ns, 0, lead_ns_max);
        lead_ns_ += (late_ns - lead_ns_) / lead_weight;
    }
    return static_cast<std::size_t>(std::max(count, 0));
}

// When there is something to do even if no packet comes.
std::int64_t Emulator::next_ns(std::int64_t now_ns) const {
    constexpr std::int64_t long_ns = 3'600'000'000'000;
    std::int64_t next = now_ns + long_ns;
    if (!queue_.empty()) next = queue_.top().at_ns;
    for (const Line& line : lines_) {
        const std::int64_t excess_ns = line.backlog_ns(now_ns) - backlog_ns_max;
        if (excess_ns > 0) next = std::min(next, now_ns + excess_ns);
    }
    return next;
}

void Emulator::take_from(std::size_t host) {
    for (std::size_t i = 0; i < packets_at_once_max; ++i) {
        const std::int64_t now_ns = clock_ns();
        if (lines_[host].backlog_ns(now_ns) > backlog_ns_max) return;
        const std::size_t size = hosts_[host].receive(buffer_);
        if (size == 0) return;
        carry(host, std::span(buffer_).first(size), now_ns);
        deliver_due();
    }
}

void Emulator::carry(std::size_t from, std::span<const std::byte> packet, std::int64_t now_ns) {
    const std::size_t to = destination_of(packet);
    if (to >= hosts_.size()) return;  // of the kernel's own, such as IPv6's
    const std::size_t wire_bytes = wire_bytes_of_packet(packet);
    ++statistics_.packet_count;
    statistics_.wire_bytes += wire_bytes;
    const std::int64_t sent_ns = lines_[from].send(now_ns, wire_bytes);
    const Arrivals arrivals = path(from, to).pass(sent_ns);
    if (arrivals.count == 0) ++statistics_.lost_count;
    if (arrivals.count == 1 && arrivals.at_ns[0] <= now_ns && queue_.empty()) {
        deliver(to, packet);  // without a copy
        return;
    }
    if (carried_bytes_ + packet.size() > carried_bytes_max) {
        ++statistics_.dropped_count;
        return;
    }
    const auto copy = std::make_shared<const std::vector<std::byte>>(packet.begin(), packet.end());
    for (std::size_t i = 0; i < arrivals.count; ++i) {
        queue_.push({arrivals.at_ns[i], order_++, to, copy});
        carried_bytes_ += copy->size();
    }
}

void Emulator::deliver_due() {
    while (!queue_.empty()) {
        const std::int64_t late_ns = clock_ns() - queue_.top().at_ns;
        if (late_ns < -early_ns_max) return;
        const Delivery delivery = queue_.top();
        queue_.pop();
        carried_bytes_ -= delivery.packet->size();
        statistics_.late_ns_sum += late_ns;
        statistics_.late_ns_max = std::max(statistics_.late_ns_max, late_ns);
        deliver(delivery.to, *delivery.packet);
    }
}

void Emulator::deliver(std::size_t to, std::span<const std::byte> packet) {
    if (!hosts_[to].deliver(packet)) ++statistics_.dropped_count;
}

}  // namespace exomesh::link_emulator
