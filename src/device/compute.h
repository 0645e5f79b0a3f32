// A thin, owning layer over ggml's backend calls: what the engine needs to put weights on a device
// and run graphs there.
#pragma once

#include <ggml-backend.h>
#include <ggml-cpp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "device/device.h"

namespace exomesh::device {

inline constexpr std::uint32_t thread_count_max = 512;

struct ComputeOptions {
    std::uint32_t thread_count = 0;  // CPU only; 0: physical_core_count()
};

// The function comes from the CPU backend's library, loaded at run time.
struct ThreadPoolDeleter {
    void (*release)(ggml_threadpool*) = nullptr;
    void operator()(ggml_threadpool* pool) const { release(pool); }
};

// One stream of work on one device: graphs run in the order they are given. On the CPU it owns the
// threads too. Not thread-safe, and on the CPU always to be used from one thread: the OpenMP
// run-time keeps a pool per calling thread, so a second caller doubles the threads.
class Compute {
  public:
    // unavailable: the device refused (a lost GPU, no memory for its context).
    [[nodiscard]] static Result<Compute> create(const Device& device,
                                                const ComputeOptions& options);
    Compute(Compute&&) noexcept = default;
    Compute& operator=(Compute&&) noexcept = default;

    [[nodiscard]] ggml_backend_t backend() const { return backend_.get(); }
    [[nodiscard]] const Device& device() const { return device_; }
    [[nodiscard]] std::uint32_t thread_count() const { return thread_count_; }

    // Runs the graph to its end. unavailable: the device failed, its buffers are lost;
    // resource_exhausted: out of memory.
    [[nodiscard]] Result<> compute(ggml_cgraph* graph);

    // The same without waiting: the graph may still run when this returns. Copies started on
    // backend() before and after it keep their order; synchronize() waits for all of them.
    [[nodiscard]] Result<> start(ggml_cgraph* graph);
    void synchronize();

  private:
    using ThreadPool = std::unique_ptr<ggml_threadpool, ThreadPoolDeleter>;

    Compute(Device device, ThreadPool pool, ggml_backend_ptr backend, std::uint32_t thread_count)
        : device_(std::move(device)),
          pool_(std::move(pool)),
          backend_(std::move(backend)),
          thread_count_(thread_count) {}

    Device device_;
    ThreadPool pool_;  // outlives the backend that uses it
    ggml_backend_ptr backend_;
    std::uint32_t thread_count_ = 0;
};

// Memory of the host that the device reads and writes directly. Copies between it and the device
// are only queued, where those from ordinary memory wait for the device each time.
class HostMemory {
  public:
    HostMemory() = default;
    // resource_exhausted: the system has no such memory left.
    [[nodiscard]] static Result<HostMemory> allocate(const Device& device, std::size_t size_bytes);

    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

  private:
    HostMemory(ggml_backend_buffer_ptr buffer, std::span<std::byte> bytes)
        : buffer_(std::move(buffer)), bytes_(bytes) {}
    ggml_backend_buffer_ptr buffer_;
    std::span<std::byte> bytes_;
};

// What the graph does with a weight: it decides where the weight may lie.
enum class WeightUse {
    matrix,           // ggml_mul_mat's first argument
    expert_matrices,  // ggml_mul_mat_id's first argument
    rows,             // ggml_get_rows' first argument (the token embedding)
    vector,           // added to or multiplied with activations (norms, biases)
};

// The buffer types a weight can lie in, best first: on the CPU the repacking ones come before plain
// memory (they decide its speed), on a GPU its own memory comes before nothing. Never empty.
[[nodiscard]] std::vector<ggml_backend_buffer_type_t> weight_buffer_types(const Device& device);

// The first of weight_buffer_types() in which the device computes with such a tensor; `shape` as
// ggml has it. Null where the device cannot use this weight at all (then it must stay on the CPU).
[[nodiscard]] ggml_backend_buffer_type_t weight_buffer_type(const Device& device, WeightUse use,
                                                            ggml_type type,
                                                            const std::int64_t (&shape)[4]);

// For activations, the KV cache and graph inputs.
[[nodiscard]] ggml_backend_buffer_type_t compute_buffer_type(const Device& device);
// Memory of the host that the device copies from and to fastest; plain memory where it has none.
[[nodiscard]] ggml_backend_buffer_type_t host_buffer_type(const Device& device);

// A buffer over memory the caller owns (a mapped model file) and keeps alive; page-aligned.
// unsupported where facts.buffer_from_host_pointer is false.
[[nodiscard]] Result<ggml_backend_buffer_ptr> buffer_from_host_pointer(
    const Device& device, void* data, std::size_t size_bytes, std::size_t tensor_bytes_max);

}  // namespace exomesh::device
