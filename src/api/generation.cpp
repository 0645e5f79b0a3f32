#include "api/generation.h"

#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace exomesh::api {

namespace asio = boost::asio;

namespace {

// Roughly what an event occupies, and roughly what it becomes as JSON.
std::size_t bytes_of(const engine::GenerationEvent& event) {
    std::size_t bytes = sizeof(ChoiceEvent) + event.text.size();
    bytes += event.top_logprobs.size() * sizeof(engine::TokenLogprob);
    return bytes;
}

}  // namespace

Generation::Generation(asio::io_context& io, Backend& backend, std::size_t unread_bytes_max)
    : backend_(&backend), unread_bytes_max_(unread_bytes_max), arrival_(io) {}

Result<std::shared_ptr<Generation>> Generation::start(const std::shared_ptr<asio::io_context>& io,
                                                      Backend& backend,
                                                      std::vector<engine::GenerateRequest> requests,
                                                      std::size_t unread_bytes_max) {
    std::shared_ptr<Generation> generation(new Generation(*io, backend, unread_bytes_max));
    for (std::size_t i = 0; i < requests.size(); ++i) {
        // `io` is captured first, so that it is released last.
        auto callback = [io, generation, i](const engine::GenerationEvent& event) {
            asio::post(*io, [generation, arrived = ChoiceEvent{i, event}]() mutable {
                generation->deliver(std::move(arrived));
            });
        };
        auto id = backend.submit(std::move(requests[i]), std::move(callback));
        if (!id) {
            generation->cancel();
            return std::unexpected(std::move(id).error());
        }
        generation->ids_.push_back(*id);
    }
    return generation;
}

void Generation::deliver(ChoiceEvent arrived) {
    if (arrived.event.finish) ++finished_count_;
    const std::size_t bytes = bytes_of(arrived.event);
    if (!overflowed_ && unread_bytes_ + bytes > unread_bytes_max_) {
        overflowed_ = true;
        unread_.clear();
        unread_.shrink_to_fit();
        cancel();
    }
    if (!overflowed_) {
        unread_bytes_ += bytes;
        unread_.push_back(std::move(arrived));
    }
    arrival_.cancel();
}

asio::awaitable<std::vector<ChoiceEvent>> Generation::next(std::chrono::milliseconds patience) {
    const auto self = shared_from_this();
    if (unread_.empty() && !overflowed_) {
        arrival_.expires_after(patience);
        co_await arrival_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    unread_bytes_ = 0;
    co_return std::exchange(unread_, {});
}

void Generation::cancel() {
    if (std::exchange(cancelled_, true) || is_finished()) return;
    for (const engine::RequestId id : ids_) backend_->cancel(id);
}

}  // namespace exomesh::api
