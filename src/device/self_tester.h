// Known-answer test of a device: every operation the engine uses is computed on the device and by
// the CPU backend's plain reference code, and the answers are compared. GPU drivers have defects;
// one that computes garbage must not be trusted with a model.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"

namespace exomesh::device {

// Raise it when cases are added or tolerances change: cached reports of older versions are dropped.
inline constexpr int self_test_version = 3;

// The cases come in groups, so that a model waits only for what it needs: a driver compiles shaders
// for every type, which takes minutes for all of them.
inline constexpr std::string_view operations_group = "operations";  // what every model needs
[[nodiscard]] std::string products_group(ggml_type type);
[[nodiscard]] std::string expert_products_group(ggml_type type);
[[nodiscard]] std::string cache_group(ggml_type type);
[[nodiscard]] std::vector<std::string> self_test_groups();  // all

enum class Verdict {
    passed,
    failed,
    unsupported,  // the device says it cannot: a model that needs this operation does not run there
};

struct OperationResult {
    std::string name;
    Verdict verdict = Verdict::unsupported;
    double error = 0.0;      // Deviation::mean
    double error_max = 0.0;  // the limit for it
    double worst = 0.0;      // Deviation::worst
    std::string group = {};
};

struct SelfTestReport {
    std::string identity;  // device_identity() of what was tested
    std::vector<OperationResult> operations;
    std::uint64_t duration_us = 0;
    std::string fault;  // why the test could not be finished ("crashed with signal 11"); else empty

    [[nodiscard]] std::size_t count(Verdict verdict) const;
    // No fault, no failed operation, and something did pass.
    [[nodiscard]] bool passed() const;
    // "104 operations passed, 3 unsupported" or "2 of 107 operations failed: rope halves 96, ..."
    [[nodiscard]] std::string summary() const;
};

// Whose results these are: device, driver, ggml and self-test version, and for Vulkan the settings
// in the environment that choose ggml's shaders (GGML_VK_*). Another driver is another device.
[[nodiscard]] std::string device_identity(const DeviceFacts& facts);

// How far computed values are from expected ones. Both are -1 where one of them is NaN or an
// infinity the other has not, and where the lengths differ.
struct Deviation {
    double mean =
        0.0;  // mean of the squared differences over the mean of the squared expected values
    double worst = 0.0;  // largest difference over the root mean square of the expected values
};

[[nodiscard]] Deviation deviation(std::span<const float> expected, std::span<const float> actual);

// The mean must stay below `error_max`, and no single value may be off by much more than such a
// mean allows: one wrong row of a tile disappears in the mean of a large matrix.
[[nodiscard]] bool acceptable(const Deviation& deviation, double error_max);

struct SelfTestOptions {
    std::vector<std::string> groups = {};  // none given: all
    // Which cases of these by name; none given: all.
    std::function<bool(std::string_view name)> wanted = {};
    // Before each case: how many are done, of how many, and which comes.
    std::function<void(std::size_t done, std::size_t total, std::string_view name)> on_case = {};
    // For tests: sees and may change what the device computed, to prove that a wrong answer is
    // noticed.
    std::function<void(std::string_view name, std::vector<float>& values)> tamper = {};
};

// Runs on the caller's thread and may crash with the driver: see trust.h for the guarded way.
// unavailable: the device or the CPU cannot be opened.
[[nodiscard]] Result<SelfTestReport> run_self_test(const Device& device, const Device& cpu,
                                                   const SelfTestOptions& options = {});

[[nodiscard]] std::string report_to_json(const SelfTestReport& report);
// corrupt_data for anything that report_to_json() did not write.
[[nodiscard]] Result<SelfTestReport> report_from_json(std::string_view text);

}  // namespace exomesh::device
