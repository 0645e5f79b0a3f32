#include "device/device.h"

#include <ggml.h>

#include <algorithm>
#include <cctype>
#include <mutex>
#include <optional>

#include "device/backend_loader.h"
#include "device/backend_log.h"
#include "device/cpu_topology.h"
#include "device/trust.h"
#include "device/vulkan_facts.h"
#include "platform/clock.h"
#include "platform/system_memory.h"

namespace exomesh::device {
namespace {

std::string lower_case(std::string_view text) {
    std::string result(text);
    std::ranges::transform(result, result.begin(), [](unsigned char letter) {
        return static_cast<char>(std::tolower(letter));
    });
    return result;
}

DeviceKind kind_of(enum ggml_backend_dev_type type) {
    switch (type) {
        case GGML_BACKEND_DEVICE_TYPE_CPU:
            return DeviceKind::cpu;
        case GGML_BACKEND_DEVICE_TYPE_GPU:
            return DeviceKind::gpu;
        case GGML_BACKEND_DEVICE_TYPE_IGPU:
            return DeviceKind::integrated_gpu;
        case GGML_BACKEND_DEVICE_TYPE_ACCEL:
        case GGML_BACKEND_DEVICE_TYPE_META:
            return DeviceKind::accelerator;
    }
    return DeviceKind::accelerator;
}

std::vector<std::string> backend_features(ggml_backend_reg_t backend) {
    std::vector<std::string> features;
    const auto get_features = reinterpret_cast<ggml_backend_get_features_t>(
        ggml_backend_reg_get_proc_address(backend, "ggml_backend_get_features"));
    if (get_features == nullptr) return features;
    for (const auto* feature = get_features(backend); feature->name != nullptr; ++feature) {
        const std::string_view value = feature->value;
        features.push_back(value == "1" ? feature->name
                                        : std::string(feature->name) + "=" + std::string(value));
    }
    return features;
}

Device describe(ggml_backend_dev_t handle, const LoadedBackend& backend) {
    ggml_backend_dev_props properties{};
    ggml_backend_dev_get_props(handle, &properties);
    Device device;
    device.handle = handle;
    DeviceFacts& facts = device.facts;
    facts.id = lower_case(properties.name);
    facts.name = properties.description;
    facts.backend = ggml_backend_reg_name(backend.handle);
    facts.backend_file = backend.file;
    facts.kind = kind_of(properties.type);
    facts.memory_total_bytes = properties.memory_total;
    facts.memory_free_bytes = properties.memory_free;
    facts.pci_address = properties.device_id == nullptr ? "" : properties.device_id;
    facts.features = backend_features(backend.handle);
    facts.unified_memory = facts.kind != DeviceKind::gpu;
    facts.asynchronous = properties.caps.async;
    facts.events = properties.caps.events;
    facts.pinned_host_buffers = properties.caps.host_buffer;
    facts.buffer_from_host_pointer = properties.caps.buffer_from_host_ptr;
    if (facts.kind == DeviceKind::cpu) {
        // ggml's own numbers ignore what other programs use and the limits of a container.
        const auto memory = platform::system_memory();
        facts.memory_total_bytes = memory.total_bytes;
        facts.memory_free_bytes = memory.free_bytes;
        facts.name = processor_name();
    }
    return device;
}

// Adds what Vulkan says to what ggml says about the same device.
void add_vulkan_facts(DeviceFacts& facts, std::vector<VulkanFacts>& all) {
    const auto same = std::ranges::find_if(all, [&](const VulkanFacts& vulkan) {
        if (!vulkan.pci_address.empty() && !facts.pci_address.empty()) {
            return vulkan.pci_address == facts.pci_address;
        }
        return vulkan.name == facts.name;
    });
    if (same == all.end()) return;
    facts.driver_name = same->driver_name;
    facts.driver_version = same->driver_version;
    facts.features.push_back("Vulkan " + same->api_version);
    if (same->float16) facts.features.emplace_back("fp16");
    if (same->integer_dot) facts.features.emplace_back("int8 dot");
    if (same->matrix_cores) facts.features.emplace_back("matrix cores");
    if (same->memory_budget) facts.features.emplace_back("memory budget");
    if (same->kind == VulkanKind::processor) facts.kind = DeviceKind::software_gpu;
    facts.unified_memory =
        same->kind == VulkanKind::integrated || same->kind == VulkanKind::processor;
    all.erase(same);  // two cards of one name are two entries
}

// Smaller is better in "auto".
int preference(DeviceKind kind) {
    switch (kind) {
        case DeviceKind::gpu:
            return 0;
        case DeviceKind::integrated_gpu:
            return 1;
        case DeviceKind::cpu:
            return 2;
        case DeviceKind::software_gpu:
        case DeviceKind::accelerator:
            return 3;
    }
    return 3;
}

std::string label(const DeviceFacts& facts) {
    return facts.id + " (" + facts.name + ")";
}

}  // namespace

std::string_view kind_name(DeviceKind kind) {
    switch (kind) {
        case DeviceKind::cpu:
            return "CPU";
        case DeviceKind::gpu:
            return "GPU";
        case DeviceKind::integrated_gpu:
            return "integrated GPU";
        case DeviceKind::software_gpu:
            return "software GPU";
        case DeviceKind::accelerator:
            return "accelerator";
    }
    return "unknown";
}

std::string ggml_version_text() {
    return ggml_version();
}

struct DeviceRegistry::State {
    mutable std::mutex mutex;
    std::vector<LoadStep> steps;
    std::optional<Result<Device>> cpu;
    std::optional<std::vector<Device>> gpus;
    TrustOptions trust;

    const Result<Device>& ensure_cpu();
    const std::vector<Device>& ensure_gpus();
    [[nodiscard]] std::string gpu_absence() const;
    // Empty where the device passes its self-test; else what is wrong with it.
    [[nodiscard]] std::string distrust(const Device& gpu);
    [[nodiscard]] Result<Choice> choose_automatically();
    [[nodiscard]] Result<Choice> choose_by_id(std::string_view id);
};

const Result<Device>& DeviceRegistry::State::ensure_cpu() {
    if (cpu) return *cpu;
    capture_backend_log();
    const auto backend = load_cpu_backend(steps);
    if (!backend) {
        cpu = std::unexpected(backend.error());
    } else {
        cpu = describe(ggml_backend_reg_dev_get(backend->handle, 0), *backend);
    }
    return *cpu;
}

const std::vector<Device>& DeviceRegistry::State::ensure_gpus() {
    if (gpus) return *gpus;
    capture_backend_log();
    gpus.emplace();
    for (const auto& backend : load_gpu_backends(steps)) {
        for (std::size_t i = 0; i < ggml_backend_reg_dev_count(backend.handle); ++i) {
            gpus->push_back(describe(ggml_backend_reg_dev_get(backend.handle, i), backend));
        }
    }
    const auto is_vulkan = [](const Device& gpu) { return gpu.facts.backend == "Vulkan"; };
    if (std::ranges::none_of(*gpus, is_vulkan)) return *gpus;
    const auto start_us = platform::monotonic_us();
    auto vulkan = query_vulkan();
    steps.push_back({"ask Vulkan for its devices", platform::monotonic_us() - start_us,
                     vulkan ? std::string() : vulkan.error().message});
    for (auto& gpu : *gpus) {
        if (vulkan && is_vulkan(gpu)) add_vulkan_facts(gpu.facts, *vulkan);
    }
    return *gpus;
}

// Needs ensure_gpus() before.
std::string DeviceRegistry::State::gpu_absence() const {
    for (const auto& step : steps) {
        if (step.failure.contains("libvulkan.so.1")) {
            return "no Vulkan device: the loader libvulkan.so.1 cannot be loaded; install "
                   "libvulkan1 "
                   "(Fedora, Arch: vulkan-loader) and your GPU's Vulkan driver";
        }
    }
    for (const auto& step : steps) {
        if (step.name.contains("libggml-vulkan") && step.failure == no_backend_offered) {
            return "no Vulkan driver works here; install mesa-vulkan-drivers (AMD, Intel) or "
                   "NVIDIA's "
                   "driver, in a container also libegl1 and libgl1, which NVIDIA's needs";
        }
        if (!step.failure.empty()) return step.name + " failed: " + step.failure;
    }
    const bool tried_vulkan = std::ranges::any_of(
        steps, [](const LoadStep& step) { return step.name.contains("libggml-vulkan"); });
    if (!tried_vulkan) return "no GPU backend library (libggml-vulkan.so) beside the program";
    if (!gpu_hardware_present()) {
        return "no GPU: the system shows no graphics device node (/dev/dri/renderD*)";
    }
    return "no Vulkan driver lists a GPU; install mesa-vulkan-drivers (AMD, Intel) or NVIDIA's "
           "driver";
}

std::string DeviceRegistry::State::distrust(const Device& gpu) {
    if (!are_self_tests_wanted()) return {};
    const auto& processor = ensure_cpu();
    if (!processor) return processor.error().message;
    const auto start_us = platform::monotonic_us();
    const auto report = trusted_report(gpu, *processor, trust);
    steps.push_back({"self-test of " + gpu.facts.id, platform::monotonic_us() - start_us, {}});
    if (!report) return report.error().message;
    return report->passed() ? std::string() : report->summary();
}

Result<Choice> DeviceRegistry::State::choose_automatically() {
    const auto& processor = ensure_cpu();
    if (!processor) return std::unexpected(processor.error());
    if (!gpu_hardware_present()) {
        return Choice{*processor, "the CPU: no GPU, the system shows no graphics device node"};
    }
    std::vector<const Device*> candidates;
    for (const auto& gpu : ensure_gpus()) candidates.push_back(&gpu);
    std::ranges::stable_sort(candidates, {}, [](const Device* gpu) {
        return std::pair(preference(gpu->facts.kind), ~gpu->facts.memory_total_bytes);
    });
    std::string skipped;
    for (const auto* gpu : candidates) {
        std::string problem;
        if (gpu->facts.kind == DeviceKind::software_gpu) {
            problem = "is a software device, slower than the CPU backend";
        } else if (preference(gpu->facts.kind) > preference(DeviceKind::cpu)) {
            continue;
        } else if (auto reason = distrust(*gpu); !reason.empty()) {
            problem = "is not used: " + reason;
        } else {
            return Choice{*gpu, label(gpu->facts) +
                                    ": the most capable device that passes its "
                                    "self-test" +
                                    (skipped.empty() ? "" : "; " + skipped)};
        }
        skipped += (skipped.empty() ? "" : "; ") + label(gpu->facts) + " " + problem;
    }
    return Choice{*processor, "the CPU: " + (skipped.empty() ? gpu_absence() : skipped)};
}

Result<Choice> DeviceRegistry::State::choose_by_id(std::string_view id) {
    std::string known = "cpu";
    for (const auto& gpu : ensure_gpus()) {
        known += ", " + gpu.facts.id;
        if (gpu.facts.id != id) continue;
        if (gpu.facts.kind == DeviceKind::software_gpu) {
            // Its self-test would compile for minutes, and nobody computes on it but tests.
            return Choice{gpu, label(gpu.facts) +
                                   ": asked for; a software device, slower than the CPU backend"};
        }
        if (const auto reason = distrust(gpu); !reason.empty()) {
            return fail(ErrorCode::unavailable,
                        label(gpu.facts) + " cannot be trusted: " + reason + ".",
                        "Use --device cpu, or another driver; EXOMESH_SELF_TEST=off uses it "
                        "nevertheless.");
        }
        return Choice{gpu, label(gpu.facts) + ": asked for"};
    }
    return fail(ErrorCode::not_found,
                "there is no device '" + std::string(id) + "'; there is: " + known + ".",
                ensure_gpus().empty() ? "Reason: " + gpu_absence() + "." : "");
}

DeviceRegistry::DeviceRegistry() : state_(std::make_unique<State>()) {}
DeviceRegistry::~DeviceRegistry() = default;

DeviceRegistry& DeviceRegistry::instance() {
    // Never destroyed: backends may still be in use by other static objects at exit.
    static auto* const registry = new DeviceRegistry;
    return *registry;
}

Result<Choice> DeviceRegistry::choose(std::string_view request,
                                      std::vector<std::string> self_test_groups) {
    const std::lock_guard lock(state_->mutex);
    state_->trust.groups = std::move(self_test_groups);
    const auto id = lower_case(request);
    if (id == "auto") return state_->choose_automatically();
    if (id != "cpu") return state_->choose_by_id(id);
    const auto& processor = state_->ensure_cpu();
    if (!processor) return std::unexpected(processor.error());
    return Choice{*processor, "the CPU: asked for"};
}

Result<Device> DeviceRegistry::cpu() {
    const std::lock_guard lock(state_->mutex);
    return state_->ensure_cpu();
}

Result<std::vector<Device>> DeviceRegistry::devices() {
    const std::lock_guard lock(state_->mutex);
    const auto& processor = state_->ensure_cpu();
    if (!processor) return std::unexpected(processor.error());
    std::vector<Device> all = {*processor};
    const auto& gpus = state_->ensure_gpus();
    all.insert(all.end(), gpus.begin(), gpus.end());
    return all;
}

std::string DeviceRegistry::gpu_absence_reason() {
    const std::lock_guard lock(state_->mutex);
    return state_->ensure_gpus().empty() ? state_->gpu_absence() : std::string();
}

void DeviceRegistry::set_self_test_program(std::string program) {
    const std::lock_guard lock(state_->mutex);
    state_->trust.program = std::move(program);
}

void DeviceRegistry::set_self_test_progress(
    std::function<void(const SelfTestProgress&)> on_progress) {
    const std::lock_guard lock(state_->mutex);
    state_->trust.on_progress = std::move(on_progress);
}

std::vector<LoadStep> DeviceRegistry::load_steps() const {
    const std::lock_guard lock(state_->mutex);
    return state_->steps;
}

}  // namespace exomesh::device
