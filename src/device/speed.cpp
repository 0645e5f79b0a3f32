#include "device/speed.h"

#include <ggml.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "device/cache_file.h"
#include "device/compute.h"
#include "device/cpu_topology.h"
#include "device/self_tester.h"
#include "platform/clock.h"

namespace exomesh::device {
namespace {

using Json = nlohmann::ordered_json;

// One of each kind of kernel, and what the usual files are made of: all types would take too long.
constexpr std::array types_measured = {GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                                       GGML_TYPE_Q4_K, GGML_TYPE_Q6_K};
constexpr std::int64_t matrix_width = 4096;
constexpr std::int64_t matrix_rows = 4096;
constexpr std::int64_t prefill_columns_gpu = 512;
constexpr std::int64_t prefill_columns_cpu = 128;  // enough to be bound by arithmetic, in a quarter
// More than any cache of a consumer device holds, so that decoding really reads memory.
constexpr std::size_t weight_bytes_total = 160U << 20U;
constexpr std::size_t copy_bytes = 64U << 20U;
constexpr std::uint64_t measure_us = 60'000;  // per figure
constexpr int repeats_min = 3;

// The fastest of several runs: the others were disturbed.
template <typename Body>
Result<double> fastest_s(Body body) {
    auto best_us = std::numeric_limits<std::uint64_t>::max();
    const auto start_us = platform::monotonic_us();
    // One more than needed: the first also compiles shaders and wakes the device.
    for (int i = 0; i <= repeats_min || platform::monotonic_us() - start_us < measure_us; ++i) {
        const auto before_us = platform::monotonic_us();
        EXO_TRY(body());
        const auto elapsed_us = platform::monotonic_us() - before_us;
        if (i > 0) best_us = std::min(best_us, std::max<std::uint64_t>(elapsed_us, 1));
        if (platform::monotonic_us() - start_us > measure_us * 5 && i > 0) break;
    }
    return static_cast<double>(best_us) * 1e-6;
}

// Matrices of one type on the device and graphs that multiply with all of them.
class Matrices {
  public:
    // Nothing where the device cannot multiply with this type or has no room.
    static std::unique_ptr<Matrices> create(Compute& compute, ggml_type type) {
        const std::int64_t shape[4] = {matrix_width, matrix_rows, 1, 1};
        auto* buffer_type = weight_buffer_type(compute.device(), WeightUse::matrix, type, shape);
        if (buffer_type == nullptr) return nullptr;
        auto matrices = std::unique_ptr<Matrices>(new Matrices(compute, type));
        matrices->weights_.reset(
            ggml_backend_alloc_ctx_tensors_from_buft(matrices->context_.get(), buffer_type));
        if (!matrices->weights_) return nullptr;
        ggml_backend_buffer_set_usage(matrices->weights_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        matrices->fill();
        return matrices;
    }

    [[nodiscard]] std::size_t count() const { return matrices_.size(); }
    [[nodiscard]] std::size_t matrix_bytes() const { return ggml_nbytes(matrices_.front()); }

    // Seconds of one pass over the first `matrix_count` matrices.
    [[nodiscard]] Result<double> pass_s(std::size_t matrix_count, std::int64_t columns) {
        const ggml_init_params parameters{
            ggml_tensor_overhead() * (matrix_count + 1) + ggml_graph_overhead(), nullptr, true};
        const ggml_context_ptr context(ggml_init(parameters));
        auto* graph = ggml_new_graph(context.get());
        auto* input = ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, matrix_width, columns);
        for (std::size_t i = 0; i < matrix_count; ++i) {
            // Each product feeds the next, as layers do: nothing may run at the same time.
            input = ggml_mul_mat(context.get(), matrices_[i], input);
            ggml_build_forward_expand(graph, input);
        }
        const ggml_backend_buffer_ptr buffer(
            ggml_backend_alloc_ctx_tensors(context.get(), compute_.backend()));
        if (!buffer) return fail(ErrorCode::resource_exhausted, "no room for the benchmark.");
        ggml_backend_buffer_clear(buffer.get(), 0);
        return fastest_s([&] { return compute_.compute(graph); });
    }

  private:
    Matrices(Compute& compute, ggml_type type) : compute_(compute) {
        const auto bytes = ggml_row_size(type, matrix_width) * matrix_rows;
        const auto matrix_count = weight_bytes_total / bytes + 1;
        context_.reset(ggml_init({ggml_tensor_overhead() * matrix_count, nullptr, true}));
        for (std::size_t i = 0; i < matrix_count; ++i) {
            matrices_.push_back(
                ggml_new_tensor_2d(context_.get(), type, matrix_width, matrix_rows));
        }
    }

    // One quantized row over and over: speed does not depend on the values, as long as they are
    // sane.
    void fill() {
        const auto type = matrices_.front()->type;
        std::vector<float> values(matrix_width);
        for (std::size_t i = 0; i < values.size(); ++i) {
            values[i] = static_cast<float>(i * 37 % 101) / 101.0F - 0.5F;
        }
        std::vector<std::byte> bytes(matrix_bytes());
        const auto row_bytes = ggml_row_size(type, matrix_width);
        ggml_quantize_chunk(type, values.data(), bytes.data(), 0, 1, matrix_width, nullptr);
        for (std::size_t row = 1; row < static_cast<std::size_t>(matrix_rows); ++row) {
            std::copy_n(bytes.begin(), row_bytes,
                        bytes.begin() + static_cast<std::ptrdiff_t>(row * row_bytes));
        }
        for (auto* matrix : matrices_) {
            ggml_backend_tensor_set(matrix, bytes.data(), 0, bytes.size());
        }
    }

    Compute& compute_;
    ggml_context_ptr context_;
    ggml_backend_buffer_ptr weights_;
    std::vector<ggml_tensor*> matrices_;
};

Result<> measure_copies(const Device& device, BenchmarkReport& report) {
    const ggml_context_ptr context(ggml_init({ggml_tensor_overhead(), nullptr, true}));
    auto* tensor = ggml_new_tensor_1d(context.get(), GGML_TYPE_I8, copy_bytes);
    const ggml_backend_buffer_ptr buffer(
        ggml_backend_alloc_ctx_tensors_from_buft(context.get(), compute_buffer_type(device)));
    const ggml_backend_buffer_ptr host(
        ggml_backend_buft_alloc_buffer(host_buffer_type(device), copy_bytes));
    if (!buffer || !host) return fail(ErrorCode::resource_exhausted, "no room for the benchmark.");
    void* memory = ggml_backend_buffer_get_base(host.get());
    EXO_TRY_ASSIGN(const auto upload_s, fastest_s([&]() -> Result<> {
                       ggml_backend_tensor_set(tensor, memory, 0, copy_bytes);
                       return {};
                   }));
    EXO_TRY_ASSIGN(const auto download_s, fastest_s([&]() -> Result<> {
                       ggml_backend_tensor_get(tensor, memory, 0, copy_bytes);
                       return {};
                   }));
    report.upload_bytes_per_s = static_cast<double>(copy_bytes) / upload_s;
    report.download_bytes_per_s = static_cast<double>(copy_bytes) / download_s;
    return {};
}

std::string benchmark_identity(const Device& device) {
    auto identity =
        device_identity(device.facts) + " | benchmark " + std::to_string(benchmark_version);
    if (device.facts.kind == DeviceKind::cpu) {
        identity += " | " + std::to_string(physical_core_count()) + " cores";
    }
    return identity;
}

Result<> refuse_software(const Device& device) {
    if (device.facts.kind != DeviceKind::software_gpu) return {};
    return fail(ErrorCode::unsupported,
                device.facts.id + " is a software device and is not benchmarked.");
}

std::string benchmark_path(const std::string& folder, const std::string& identity) {
    return cache_path(folder.empty() ? cache_folder("benchmark") : folder, identity);
}

}  // namespace

Result<BenchmarkReport> run_benchmark(const Device& device) {
    EXO_TRY(refuse_software(device));
    const auto start_us = platform::monotonic_us();
    BenchmarkReport report;
    report.identity = benchmark_identity(device);
    EXO_TRY_ASSIGN(auto compute, Compute::create(device, {}));
    for (const auto type : types_measured) {
        const auto matrices = Matrices::create(compute, type);
        if (!matrices) continue;
        EXO_TRY_ASSIGN(const auto decode_s, matrices->pass_s(matrices->count(), 1));
        // A GPU is only busy with many; on a CPU one is work enough and takes long enough.
        const bool is_cpu = device.facts.kind == DeviceKind::cpu;
        const auto prefill_count = is_cpu ? 1 : matrices->count();
        const auto columns = is_cpu ? prefill_columns_cpu : prefill_columns_gpu;
        EXO_TRY_ASSIGN(const auto prefill_s, matrices->pass_s(prefill_count, columns));
        const auto flop = 2.0 * static_cast<double>(matrix_width * matrix_rows * columns) *
                          static_cast<double>(prefill_count);
        const auto bytes = static_cast<double>(matrices->count() * matrices->matrix_bytes());
        report.weights.push_back({ggml_type_name(type), bytes / decode_s, flop / prefill_s});
    }
    EXO_TRY(measure_copies(device, report));
    report.duration_us = platform::monotonic_us() - start_us;
    return report;
}

Result<double> decode_bytes_per_s(const Device& device, std::string_view type,
                                  std::uint32_t thread_count) {
    const bool is_usual = thread_count == 0 || thread_count == physical_core_count() ||
                          device.facts.kind != DeviceKind::cpu;
    if (const auto report = is_usual ? kept_benchmark(device) : std::nullopt) {
        const auto found = std::ranges::find(report->weights, type, &WeightSpeed::type);
        if (found != report->weights.end()) return found->decode_bytes_per_s;
    }
    EXO_TRY(refuse_software(device));
    const auto known = std::ranges::find(types_measured, type, ggml_type_name);
    EXO_TRY_ASSIGN(auto compute, Compute::create(device, {.thread_count = thread_count}));
    const auto matrices =
        Matrices::create(compute, known == types_measured.end() ? GGML_TYPE_Q4_K : *known);
    if (!matrices) {
        return fail(ErrorCode::unsupported,
                    device.facts.id + " has no room, or no products with such weights.");
    }
    EXO_TRY_ASSIGN(const auto pass_s, matrices->pass_s(matrices->count(), 1));
    return static_cast<double>(matrices->count() * matrices->matrix_bytes()) / pass_s;
}

Result<BenchmarkReport> run_and_keep_benchmark(const Device& device, const std::string& folder) {
    auto report = run_benchmark(device);
    if (report) write_cache(benchmark_path(folder, report->identity), benchmark_to_json(*report));
    return report;
}

std::optional<BenchmarkReport> kept_benchmark(const Device& device, const std::string& folder) {
    const auto identity = benchmark_identity(device);
    const auto cached = read_cache(benchmark_path(folder, identity));
    if (!cached) return std::nullopt;
    auto report = benchmark_from_json(cached->text);
    if (!report || report->identity != identity) return std::nullopt;
    return *std::move(report);
}

std::string benchmark_to_json(const BenchmarkReport& report) {
    Json weights = Json::array();
    for (const auto& weight : report.weights) {
        weights.push_back({{"type", weight.type},
                           {"decode_bytes_per_s", weight.decode_bytes_per_s},
                           {"prefill_flop_per_s", weight.prefill_flop_per_s}});
    }
    const Json json = {{"identity", report.identity},
                       {"weights", std::move(weights)},
                       {"upload_bytes_per_s", report.upload_bytes_per_s},
                       {"download_bytes_per_s", report.download_bytes_per_s},
                       {"duration_us", report.duration_us}};
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<BenchmarkReport> benchmark_from_json(std::string_view text) {
    constexpr std::size_t weight_count_max = 100;
    try {
        const auto json = Json::parse(text);
        BenchmarkReport report;
        report.identity = json.at("identity").get<std::string>();
        report.upload_bytes_per_s = json.at("upload_bytes_per_s").get<double>();
        report.download_bytes_per_s = json.at("download_bytes_per_s").get<double>();
        report.duration_us = json.at("duration_us").get<std::uint64_t>();
        const auto& weights = json.at("weights");
        if (!weights.is_array() || weights.size() > weight_count_max) {
            return fail(ErrorCode::corrupt_data, "a benchmark report has no list of weights.");
        }
        for (const auto& weight : weights) {
            report.weights.push_back({weight.at("type").get<std::string>(),
                                      weight.at("decode_bytes_per_s").get<double>(),
                                      weight.at("prefill_flop_per_s").get<double>()});
        }
        return report;
    } catch (const Json::exception& error) {
        return fail(ErrorCode::corrupt_data,
                    std::string("a benchmark report does not parse: ") + error.what());
    }
}

}  // namespace exomesh::device
