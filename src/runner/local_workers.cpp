#include "runner/local_workers.h"

#include <charconv>
#include <chrono>
#include <thread>
#include <utility>

namespace exomesh::runner {

namespace {

constexpr std::uint64_t start_ms_max = 20'000;
constexpr std::uint64_t exit_ms_max = 100;
constexpr std::string_view before_port = "worker listens on ";
constexpr std::string_view before_peer = " as ";
constexpr const char* local_host = "127.0.0.1";

}  // namespace

std::string announcement(std::uint16_t port, const net::PeerId& peer_id) {
    return std::string(before_port) + std::to_string(port) + std::string(before_peer) +
           peer_id.text();
}

Result<WorkerAddress> parse_announcement(const std::string& line) {
    const auto malformed = [&] {
        return fail(ErrorCode::internal, "a worker said '" + line + "' instead of its address.");
    };
    std::uint16_t port = 0;
    if (!line.starts_with(before_port)) return malformed();
    const char* const begin = line.data() + before_port.size();
    const char* const end = line.data() + line.size();
    const auto [after, error] = std::from_chars(begin, end, port);
    const std::string_view rest(after, end);
    if (error != std::errc() || !rest.starts_with(before_peer)) return malformed();
    EXO_TRY_ASSIGN(net::PeerId peer_id, net::PeerId::parse(rest.substr(before_peer.size())));
    return WorkerAddress{.host = local_host, .port = port, .peer_id = std::move(peer_id)};
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
