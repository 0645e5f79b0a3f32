// The devices of this machine that can run a model, as ggml's backends offer them: the CPU, and
// GPUs through Vulkan, CUDA, HIP or Metal, whichever backend libraries are found beside the
// program.
#pragma once

#include <ggml-backend.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exomesh::device {

enum class DeviceKind {
    cpu,
    gpu,             // with memory of its own
    integrated_gpu,  // shares the system's memory
    software_gpu,  // a GPU driver that computes on the CPU (llvmpipe): slower than the CPU backend
    accelerator,   // helps the CPU with single operations; never chosen
};

[[nodiscard]] std::string_view kind_name(DeviceKind kind);

// Plain values, taken when the device was listed; memory_free_bytes ages from then on.
struct DeviceFacts {
    std::string id;            // "cpu", "vulkan0", "cuda1": what people type
    std::string name;          // "NVIDIA GeForce RTX 4090", "AMD Ryzen 7 7840U"
    std::string backend;       // "CPU", "Vulkan", ...: ggml's name of the backend
    std::string backend_file;  // the library it came from, e.g. ".../libggml-cpu-zen4.so"
    DeviceKind kind = DeviceKind::cpu;
    std::uint64_t memory_total_bytes = 0;
    std::uint64_t memory_free_bytes = 0;
    std::string driver_name;     // empty where nothing tells it
    std::string driver_version;  // with driver_name the identity of what self-tests vouch for
    std::string pci_address;     // "0000:c1:00.0", empty where unknown
    std::vector<std::string> features;  // "AVX2", "fp16", "int8 dot", "matrix cores", ...
    bool unified_memory = false;        // the device computes in the system's memory
    bool asynchronous = false;          // graphs run while the caller goes on
    bool events = false;
    bool pinned_host_buffers = false;
    bool buffer_from_host_pointer = false;  // a mapped file can be used in place
};

// A value to copy around. The handle belongs to ggml and lives as long as the process.
struct Device {
    DeviceFacts facts;
    ggml_backend_dev_t handle = nullptr;
};

struct Choice {
    Device device;
    std::string reason;  // one sentence for people: why this one, and why not a faster one
};

// What it took to get here: one entry per step, for `doctor` and for the start-up budget.
struct LoadStep {
    std::string name;  // "load libggml-cpu-zen4.so"
    std::uint64_t duration_us = 0;
    std::string failure;  // empty where it worked
};

// How far a self-test that really runs is: the first one of a driver compiles shaders for minutes.
struct SelfTestProgress {
    enum class Phase { begins, runs, ended };
    Phase phase = Phase::begins;
    const DeviceFacts& device;
    std::size_t done = 0;  // operations, of total; both are 0 until the test knows them
    std::size_t total = 0;
    std::string_view operation = {};  // which one is tested now
    std::uint64_t elapsed_us = 0;
};

// Threads: every method may be called from any thread. Libraries are loaded on first need and stay:
// asking for the CPU never touches a GPU driver, because that alone can take longer than the CPU
// needs for its first token.
class DeviceRegistry {
  public:
    // The one of this process (ggml's own registry is global, too).
    [[nodiscard]] static DeviceRegistry& instance();
    ~DeviceRegistry();
    DeviceRegistry(const DeviceRegistry&) = delete;
    DeviceRegistry& operator=(const DeviceRegistry&) = delete;

    // `request`: "cpu"; a device id; or "auto", the most capable GPU that passes its self-test,
    // else the CPU: one with its own memory comes before one that shares the system's, and a
    // software GPU is never taken. The first choice of a GPU runs its self-test (once per driver
    // and group; trust.h), of the groups that the model needs (self_tester.h) or, where none is
    // named, of all. Errors: not_found for an id that is not there (the hint says what a missing
    // driver needs); unavailable for one that fails its self-test, and where not even a CPU backend
    // can be loaded.
    [[nodiscard]] Result<Choice> choose(std::string_view request,
                                        std::vector<std::string> self_test_groups = {});

    // The CPU device. unavailable: no backend library, with the folders that were searched.
    [[nodiscard]] Result<Device> cpu();

    // Everything, the CPU first. Loads all backends: a GPU driver may take hundreds of
    // milliseconds.
    [[nodiscard]] Result<std::vector<Device>> devices();

    // Why no GPU is listed, or empty where one is. Loads all backends.
    [[nodiscard]] std::string gpu_absence_reason();

    // The program that knows the self-test command (trust.h), usually "/proc/self/exe" and set by
    // main(). Without one the self-test runs in this process.
    void set_self_test_program(std::string program);

    // Called on the thread that chooses, before, at least twice a second during, and after a
    // self-test that really runs. Must not call the registry.
    void set_self_test_progress(std::function<void(const SelfTestProgress&)> on_progress);

    [[nodiscard]] std::vector<LoadStep> load_steps() const;

  private:
    DeviceRegistry();
    struct State;
    std::unique_ptr<State> state_;
};

// The version of the ggml that runs, e.g. "0.27.0".
[[nodiscard]] std::string ggml_version_text();

}  // namespace exomesh::device
