// A process that lends itself as a rank: it waits for a head, loads what the head asks for,
// computes until the head is done or gone, and waits for the next.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/data_link.h"
#include "net/identity.h"

namespace exomesh::runner {

// Head and worker tell each other at least this often that they live; silence means a hang.
inline constexpr std::uint64_t heartbeat_ms = 200;
inline constexpr std::uint64_t silence_ms_max = 800;

struct WorkerOptions {
    net::Identity identity;
    std::vector<net::PeerId> allowed_heads;  // at least one; nobody else gets in
    std::string host;                        // where to listen; "" for all addresses
    std::uint16_t port = 0;                  // 0: a free one
    // A socket that listens already takes the place of both, and belongs to the worker then.
    int listening_descriptor = -1;
    // Files, or folders, where the head's model may lie if not at the head's path (model_search.h).
    std::vector<std::string> model_places = {};
    // Gets a line for people; also called by threads of the worker's own, by several at once, from
    // create() until the worker has ended.
    std::function<void(const std::string&)> on_event = {};
    // The device has stopped computing for good, as the head was told, or a session that is to end
    // has not done so within 30 s. The thread that waits for the device cannot be ended: a process
    // that is nothing but this worker ends here, at once. Where this returns, serve_one() waits for
    // that thread. Without it nobody watches the device: nothing would come of it.
    std::function<void(const Error&)> on_hang = {};
};

class Worker {
  public:
    [[nodiscard]] static Result<Worker> create(WorkerOptions options);
    Worker(Worker&&) noexcept;
    ~Worker();

    [[nodiscard]] std::uint16_t port() const;
    [[nodiscard]] const net::PeerId& peer_id() const;

    // Serves one head to its end; one that only asks what the device can do, and goes, does not
    // count. The error says why the session failed, cancelled: stop() was called. Waiting for a
    // head has no other limit.
    [[nodiscard]] Result<void> serve_one();

    // Ends serve_one(), now and in future: a waiting or computing one within 200 ms, one that loads
    // or is surveyed when it is done with that, one that does not end by on_hang. From any thread.
    void stop();

  private:
    struct State;
    enum class VisitEnd { session_over, surveyed };
    [[nodiscard]] Result<VisitEnd> serve_visit();
    explicit Worker(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace exomesh::runner
