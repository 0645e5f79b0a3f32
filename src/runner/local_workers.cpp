#include "runner/local_workers.h"

#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

namespace exomesh::runner {

namespace {

constexpr std::uint64_t start_ms_max = 20'000;
constexpr std::uint64_t exit_ms_max = 100;
constexpr std::string_view before_address = "worker listens on ";
constexpr const char* local_host = "127.0.0.1";

}  // namespace

Result<WorkerAddress> parse_worker_address(std::string_view text) {
    const auto malformed = [&] {
        return fail(ErrorCode::invalid_argument,
                    "'" + std::string(text) + "' is no address of a worker.",
                    "`exomesh worker` prints it: HOST:PORT/PEERID.");
    };
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return malformed();
    const std::string_view place = text.substr(0, slash);
    const std::size_t colon = place.rfind(':');
    if (colon == std::string_view::npos) return malformed();
    const std::string_view digits = place.substr(colon + 1);
    std::uint16_t port = 0;
    const char* const end = digits.data() + digits.size();
    const auto [after, error] = std::from_chars(digits.data(), end, port);
    if (error != std::errc() || after != end || port == 0) return malformed();
    auto peer_id = net::PeerId::parse(text.substr(slash + 1));
    if (!peer_id) return malformed();
    std::string_view host = place.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    return WorkerAddress{.host = std::string(host), .port = port, .peer_id = *std::move(peer_id)};
}

std::string announcement(std::string_view host, std::uint16_t port, const net::PeerId& peer_id) {
    const bool is_ipv6 = host.contains(':');
    return std::string(before_address) + (is_ipv6 ? "[" : "") + std::string(host) +
           (is_ipv6 ? "]" : "") + ":" + std::to_string(port) + "/" + peer_id.text();
}

Result<WorkerAddress> parse_announcement(std::string_view line) {
    if (!line.starts_with(before_address)) {
        return fail(ErrorCode::internal,
                    "a worker said '" + std::string(line) + "' instead of its address.");
    }
    return parse_worker_address(line.substr(before_address.size()));
}

Result<std::shared_ptr<LocalWorkers>> LocalWorkers::start(const std::string& program,
                                                          std::uint32_t count,
                                                          const net::PeerId& head) {
    std::shared_ptr<LocalWorkers> workers(new LocalWorkers());
    for (std::uint32_t i = 0; i < count; ++i) {
        EXO_TRY_ASSIGN(
            platform::SupervisedChild child,
            platform::SupervisedChild::start(
                {.arguments = {program, "worker", "--listen", std::string(local_host) + ":0",
                               "--allow", head.text(), "--once", "--new-identity"},
                 .first_line_timeout_ms = start_ms_max}));
        workers->children_.push_back(std::move(child));
    }
    for (platform::SupervisedChild& child : workers->children_) {
        EXO_TRY_ASSIGN(const std::string line,
                       child.read_line(platform::Deadline::after_ms(start_ms_max)));
        EXO_TRY_ASSIGN(WorkerAddress address, parse_announcement(line));
        workers->addresses_.push_back(std::move(address));
    }
    return workers;
}

std::string LocalWorkers::explain_loss(std::size_t rank) {
    platform::SupervisedChild& child = children_[rank - 1];
    auto end = child.poll_exit();
    // Its links break a moment before the system can tell how it ended.
    const auto deadline = platform::Deadline::after_ms(exit_ms_max);
    while (!end && !deadline.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        end = child.poll_exit();
    }
    if (!end) return "";
    std::string text = "its process ended with " + end->text() + ".";
    if (const std::string errors = child.errors(); !errors.empty()) text += "\n" + errors;
    return text;
}

}  // namespace exomesh::runner
