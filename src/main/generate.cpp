#include "main/generate.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <format>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>

namespace exomesh::main {

namespace {

// How soon Ctrl-C is noticed: a signal handler may not wake a condition variable.
constexpr std::chrono::milliseconds interrupt_poll{50};
constexpr int patience_polls = 10;  // a step that takes longer is worth a word

// From the engine's thread, which must not block on a slow terminal, to the caller's.
class EventQueue {
  public:
    void push(engine::GenerationEvent event) {
        const std::lock_guard lock(mutex_);
        events_.push_back(std::move(event));
        changed_.notify_one();
    }

    [[nodiscard]] std::deque<engine::GenerationEvent> take() {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, interrupt_poll, [this] { return !events_.empty(); });
        return std::exchange(events_, {});
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<engine::GenerationEvent> events_;  // bounded by the request's context
};

double rate(std::uint32_t count, std::uint64_t duration_us) {
    return duration_us == 0 ? 0.0
                            : static_cast<double>(count) * 1e6 / static_cast<double>(duration_us);
}

}  // namespace

Result<Answer> generate(engine::Engine& engine, engine::GenerateRequest request,
                        const InterruptScope& interrupt, const TextSink& sink) {
    // Shared with the callback, which the engine may hold a moment longer than this call lasts.
    const auto queue = std::make_shared<EventQueue>();
    const auto submitted = engine.submit(
        std::move(request), [queue](const engine::GenerationEvent& event) { queue->push(event); });
    if (!submitted) return std::unexpected(submitted.error());

    Answer answer;
    bool cancelled = false;
    int polls_since_interrupt = 0;
    while (true) {
        for (const engine::GenerationEvent& event : queue->take()) {
            answer.text += event.text;
            const bool wanted = cancelled || event.text.empty() || sink(event.text);
            if (!wanted) {
                engine.cancel(*submitted);
                cancelled = true;
            }
            if (!event.finish) continue;
            if (event.error) {
                // The message shall not follow half an answer on its line.
                if (!answer.text.empty()) std::ignore = sink("\n");
                return std::unexpected(*event.error);
            }
            answer.finish = *event.finish;
            answer.usage = event.usage;
            return answer;
        }
        if (!cancelled && interrupt.count() > 0) {
            engine.cancel(*submitted);
            cancelled = true;
        }
        const bool interrupted = interrupt.count() > 0;
        if (interrupted && ++polls_since_interrupt == patience_polls &&
            is_terminal(Stream::error)) {
            print_note("\nstopping after this step; Ctrl-C again ends at once\n");
        }
    }
}

std::string speed_line(const engine::Usage& usage) {
    const std::uint32_t computed = usage.prompt_tokens - usage.prompt_tokens_cached;
    const std::string cached = usage.prompt_tokens_cached == 0
                                   ? ""
                                   : std::format(" (+{} cached)", usage.prompt_tokens_cached);
    // The first token is sampled at the end of the prefill: decoding made the others.
    const std::uint32_t decoded = usage.completion_tokens == 0 ? 0 : usage.completion_tokens - 1;
    return std::format(
        "{} prompt tokens{} in {:.2f} s ({:.1f} tok/s), {} tokens in {:.2f} s ({:.1f} tok/s)",
        computed, cached, static_cast<double>(usage.prefill_us) / 1e6,
        rate(computed, usage.prefill_us), usage.completion_tokens,
        static_cast<double>(usage.decode_us) / 1e6, rate(decoded, usage.decode_us));
}

std::string_view finish_name(engine::FinishReason reason) {
    switch (reason) {
        case engine::FinishReason::stop:
            return "stop";
        case engine::FinishReason::length:
            return "length";
        case engine::FinishReason::cancelled:
            return "cancelled";
        case engine::FinishReason::error:
            return "error";
    }
    return "error";
}

}  // namespace exomesh::main
