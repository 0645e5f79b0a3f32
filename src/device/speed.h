// A short benchmark of a device: how fast it reads weights (decoding) and multiplies (prompts),
// with five weight types, and how fast bytes get there and back. What placement and `doctor` reckon
// with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"

namespace exomesh::device {

// Raise it when what is measured changes: cached reports of older versions are dropped.
inline constexpr int benchmark_version = 1;

struct WeightSpeed {
    std::string type;                 // ggml's name: "q4_0"
    double decode_bytes_per_s = 0.0;  // weight bytes read by products with one column
    double prefill_flop_per_s = 0.0;  // products with many columns; a multiply and an add are two
};

struct BenchmarkReport {
    std::string identity;
    std::vector<WeightSpeed> weights;   // types the device cannot multiply are left out
    double upload_bytes_per_s = 0.0;    // host memory to device
    double download_bytes_per_s = 0.0;  // and back
    std::uint64_t duration_us = 0;
};

// Takes about two seconds and 400 MB of the device's memory. One thread per physical core on the
// CPU. Not for software GPUs (unsupported): they compile for minutes.
[[nodiscard]] Result<BenchmarkReport> run_benchmark(const Device& device);

// How fast it decodes with weights of one type and so many threads (CPU only; 0: one per physical
// core, as the benchmark): what the report kept for this device says, or else measured now, which
// takes some 0.3 s. A type the benchmark does not know counts as Q4_K. Errors as of
// run_benchmark().
[[nodiscard]] Result<double> decode_bytes_per_s(const Device& device, std::string_view type,
                                                std::uint32_t thread_count = 0);

// Runs it and keeps the report in $XDG_CACHE_HOME/exomesh/benchmark (or `folder`, where not empty).
[[nodiscard]] Result<BenchmarkReport> run_and_keep_benchmark(const Device& device,
                                                             const std::string& folder = {});

// The report kept for this device with this driver; nothing where there is none.
[[nodiscard]] std::optional<BenchmarkReport> kept_benchmark(const Device& device,
                                                            const std::string& folder = {});

[[nodiscard]] std::string benchmark_to_json(const BenchmarkReport& report);
[[nodiscard]] Result<BenchmarkReport> benchmark_from_json(std::string_view text);

}  // namespace exomesh::device
