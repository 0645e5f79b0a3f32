// The engine: one loaded model, one compute thread, many requests at a time (continuous batching).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"
#include "model/architecture.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

enum class CacheType { f16, q8_0, f32 };  // f32: to compare computations exactly

// How weights lie on the CPU. `fast` may use layouts whose sums round differently from llama.cpp's
// (affine_split.h); `exact` gives what llama.cpp's kernels give, bit for bit where the batch is the
// same.
enum class WeightLayout { fast, exact };

// Whether a context may be longer than the model was trained for: answers turn to nonsense there,
// but speed can be measured.
enum class ContextLimit { trained, none };

struct ModelFile;
struct OpenedShard;

struct EngineOptions {
    std::string model_path;
    // "auto": the best device that passes its self-test; "cpu"; or a device id as `doctor` prints
    // it.
    std::string device = "auto";
    std::uint32_t thread_count = 0;    // CPU threads; 0: one per physical core
    std::uint32_t slot_count = 8;      // requests computed at the same time
    std::uint32_t context_length = 0;  // tokens per slot; 0: the model's own, at most 8192
    ContextLimit context_limit = ContextLimit::trained;
    std::uint32_t chunk_length =
        512;  // prompt tokens per step at most: what a running decode waits for
    std::uint32_t queue_length_max = 256;  // requests that wait for a slot; more are refused
    CacheType cache_type = CacheType::f16;
    WeightLayout weight_layout = WeightLayout::fast;
    bool flash_attention = true;
    // Opens what computes the steps, and anew after one failed; empty: open_shard(), one shard on
    // one device. Called on the thread that computes.
    std::function<Result<OpenedShard>(const ModelFile&, const EngineOptions&)> open;
    std::function<void(double)> on_progress;  // 0 to 1 while loading, on the loading thread
    // For who operates it: what failed, and that it computes again. On the thread that computes.
    std::function<void(const std::string&)> on_device_event;
};

struct EngineStatistics {
    std::uint32_t slots_busy = 0;
    std::uint32_t requests_waiting = 0;
    std::uint64_t requests_total = 0;
    std::uint64_t requests_failed_total = 0;
    std::uint64_t prompt_tokens_total = 0;  // computed (not found in the cache)
    std::uint64_t prompt_tokens_cached_total = 0;
    std::uint64_t completion_tokens_total = 0;
    std::uint64_t prefill_us_total = 0;  // compute time of steps with prompt tokens
    std::uint64_t decode_us_total = 0;   // compute time of steps without
    std::uint64_t steps_total = 0;
    // What the device failed with in the last step, for people; empty while it works.
    std::string device_failure;
};

struct EngineInformation {
    std::string device;                // id of the device that computes
    std::string device_reason;         // why this one ("no Vulkan device passed ...")
    std::uint32_t context_length = 0;  // tokens per slot
    std::uint32_t slot_count = 0;
    std::uint64_t weight_bytes = 0;
    std::uint64_t cache_bytes = 0;
    std::uint64_t compute_bytes = 0;
    std::uint64_t load_us = 0;
};

// Threads: every method may be called from any thread. Lifetime: the destructor cancels what runs
// and joins the compute thread; callbacks come until then.
class Engine {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Engine>> create(const EngineOptions& options);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Queues a request. Errors (invalid_argument: empty prompt, token out of range, prompt longer
    // than the context; resource_exhausted: queue full) come back here and leave nothing behind;
    // later ones arrive as an event.
    [[nodiscard]] Result<RequestId> submit(GenerateRequest request, GenerationCallback callback);

    // Ends a request soon; its callback gets FinishReason::cancelled. Unknown ids are ignored.
    void cancel(RequestId id);

    [[nodiscard]] const model::Architecture& architecture() const;
    [[nodiscard]] const model::Tokenizer& tokenizer() const;
    // The model's own template, or nullptr where the file has none (a base model) or one that
    // cannot be read: then the error says so, and every conversation fails with it.
    [[nodiscard]] const model::ChatTemplate* chat_template() const;
    [[nodiscard]] const Error* chat_template_error() const;
    // Another one after a rank was lost: what is opened anew may use other devices.
    [[nodiscard]] EngineInformation information() const;
    [[nodiscard]] EngineStatistics statistics() const;

  private:
    struct State;
    explicit Engine(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace exomesh::engine
