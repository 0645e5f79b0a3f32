// An answer being generated: the bridge from the engine's thread to the server's.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "api/answer.h"
#include "api/backend.h"

namespace exomesh::api {

struct ChoiceEvent {
    std::size_t choice = 0;
    engine::GenerationEvent event;
};

// Used on the thread that runs `io` only. The engine's callback posts to `io` and holds it, so that
// a late event finds it even after the server is gone.
class Generation : public std::enable_shared_from_this<Generation> {
  public:
    // Submits every request, or none: where one is refused, those before it are cancelled.
    [[nodiscard]] static Result<std::shared_ptr<Generation>> start(
        const std::shared_ptr<boost::asio::io_context>& io, Backend& backend,
        std::vector<engine::GenerateRequest> requests, std::size_t unread_bytes_max);

    // The events since the last call; waits for one for up to `patience`, then returns none.
    [[nodiscard]] boost::asio::awaitable<std::vector<ChoiceEvent>> next(
        std::chrono::milliseconds patience);

    // Ends what is still running. Harmless when all is finished, or when called again.
    void cancel();

    [[nodiscard]] bool is_finished() const { return finished_count_ == ids_.size(); }
    // More was unread than allowed: the requests were cancelled and events were dropped.
    [[nodiscard]] bool has_overflowed() const { return overflowed_; }

  private:
    Generation(boost::asio::io_context& io, Backend& backend, std::size_t unread_bytes_max);
    void deliver(ChoiceEvent event);

    Backend* backend_;
    std::size_t unread_bytes_max_;
    boost::asio::steady_timer arrival_;  // cancelled when an event arrives
    std::vector<engine::RequestId> ids_;
    std::vector<ChoiceEvent> unread_;
    std::size_t unread_bytes_ = 0;
    std::size_t finished_count_ = 0;
    bool overflowed_ = false;
    bool cancelled_ = false;
};

// Cancels a generation when a scope ends, however it ends.
class CancelGuard {
  public:
    explicit CancelGuard(std::shared_ptr<Generation> generation)
        : generation_(std::move(generation)) {}
    CancelGuard(const CancelGuard&) = delete;
    CancelGuard& operator=(const CancelGuard&) = delete;
    ~CancelGuard() { generation_->cancel(); }

  private:
    std::shared_ptr<Generation> generation_;
};

}  // namespace exomesh::api
