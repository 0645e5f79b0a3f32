#include "device/self_tester.h"

#include <ggml.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "device/cache_file.h"
#include "device/compute.h"
#include "device/self_test_cases.h"
#include "platform/clock.h"

namespace exomesh::device {
namespace {

constexpr std::size_t tensor_count_max = 64;  // of one case

// Values of a contiguous tensor as floats.
std::vector<float> read_values(const ggml_tensor* tensor) {
    EXO_ASSERT(ggml_is_contiguous(tensor));
    std::vector<std::byte> bytes(ggml_nbytes(tensor));
    ggml_backend_tensor_get(tensor, bytes.data(), 0, bytes.size());
    const auto count = ggml_nelements(tensor);
    std::vector<float> values(static_cast<std::size_t>(count));
    if (tensor->type == GGML_TYPE_F32) {
        std::memcpy(values.data(), bytes.data(), bytes.size());
    } else if (tensor->type == GGML_TYPE_I32) {
        const auto* integers = reinterpret_cast<const std::int32_t*>(bytes.data());
        std::transform(integers, integers + count, values.begin(),
                       [](std::int32_t value) { return static_cast<float>(value); });
    } else {
        ggml_get_type_traits(tensor->type)->to_float(bytes.data(), values.data(), count);
    }
    return values;
}

void sort_rows(std::vector<float>& values, std::int64_t row_length) {
    for (auto row = values.begin(); row < values.end(); row += row_length) {
        std::sort(row, row + row_length);
    }
}

// Where the tensors of one case lie on one device.
class CaseRun {
  public:
    CaseRun(const Case& test_case, Compute& compute, WeightCache& weights) : compute_(compute) {
        const ggml_init_params parameters{
            ggml_tensor_overhead() * tensor_count_max + ggml_graph_overhead(), nullptr, true};
        context_.reset(ggml_init(parameters));
        CaseBuilder builder(context_.get(), text_hash(test_case.name), weights);
        result_ = test_case.build(builder);
        inputs_ = std::move(builder.inputs());
        graph_ = ggml_new_graph(context_.get());
        ggml_build_forward_expand(graph_, result_);
    }

    // With weights in plain memory, or where the engine would put them. False: unsupported.
    [[nodiscard]] bool place(bool weights_as_engine_does) {
        for (const auto& input : inputs_) {
            if (!input.is_weight || !weights_as_engine_does) continue;
            const auto& shape = input.tensor->ne;
            auto* type =
                weight_buffer_type(compute_.device(), input.weight_use, input.tensor->type, shape);
            if (type == nullptr) return false;
            const auto size_bytes = ggml_backend_buft_get_alloc_size(type, input.tensor);
            auto buffer = ggml_backend_buffer_ptr(ggml_backend_buft_alloc_buffer(type, size_bytes));
            if (!buffer) return false;
            ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            ggml_backend_tensor_alloc(buffer.get(), input.tensor,
                                      ggml_backend_buffer_get_base(buffer.get()));
            buffers_.push_back(std::move(buffer));
        }
        for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
            const auto* node = ggml_graph_node(graph_, i);
            if (!ggml_backend_dev_supports_op(compute_.device().handle, node)) return false;
        }
        buffers_.emplace_back(ggml_backend_alloc_ctx_tensors(context_.get(), compute_.backend()));
        if (!buffers_.back()) return false;
        for (const auto& input : inputs_) {
            ggml_backend_tensor_set(input.tensor, input.bytes.data(), 0, input.bytes.size());
        }
        return true;
    }

    [[nodiscard]] Result<std::vector<float>> run(RowOrder order) {
        EXO_TRY(compute_.compute(graph_));
        auto values = read_values(result_);
        if (order == RowOrder::any) sort_rows(values, result_->ne[0]);
        return values;
    }

  private:
    Compute& compute_;
    ggml_context_ptr context_;
    std::vector<ggml_backend_buffer_ptr> buffers_;
    std::vector<CaseInput> inputs_;
    ggml_tensor* result_ = nullptr;
    ggml_cgraph* graph_ = nullptr;
};

// The CPU backend with its plain code: what the optimized paths are compared with.
Result<Compute> create_reference(const Device& cpu) {
    auto reference = Compute::create(cpu, {.thread_count = 1});
    if (!reference) return reference;
    using UseReference = void (*)(ggml_backend_t, bool);
    const auto use_reference = reinterpret_cast<UseReference>(ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(cpu.handle), "ggml_backend_cpu_set_use_ref"));
    if (use_reference != nullptr) use_reference(reference->backend(), true);
    return reference;
}

Result<OperationResult> run_case(const Case& test_case, Compute& compute, Compute& reference,
                                 WeightCache& weights, const SelfTestOptions& options) {
    OperationResult result{test_case.name, Verdict::unsupported, 0.0, test_case.error_max, 0.0,
                           test_case.group};
    CaseRun device_run(test_case, compute, weights);
    if (!device_run.place(true)) return result;
    CaseRun reference_run(test_case, reference, weights);
    EXO_ASSERT(reference_run.place(false));
    EXO_TRY_ASSIGN(const auto expected, reference_run.run(test_case.row_order));
    EXO_TRY_ASSIGN(auto actual, device_run.run(test_case.row_order));
    if (options.tamper) options.tamper(test_case.name, actual);
    const auto found = deviation(expected, actual);
    result.error = found.mean;
    result.worst = found.worst;
    result.verdict = acceptable(found, test_case.error_max) ? Verdict::passed : Verdict::failed;
    return result;
}

// A mark of what in the environment decides which shaders ggml computes with; empty for nothing.
std::string vulkan_settings() {
    std::vector<std::string_view> settings;
    for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view setting = *entry;
        // Which devices are listed changes nothing in how one computes.
        if (setting.starts_with("GGML_VK_VISIBLE_DEVICES=")) continue;
        if (setting.starts_with("GGML_VK_")) settings.push_back(setting);
    }
    std::ranges::sort(settings);
    if (settings.empty()) return {};
    std::string text;
    for (const auto setting : settings) text.append(setting).push_back('\n');
    return " | settings " + std::to_string(text_hash(text));
}

}  // namespace

Deviation deviation(std::span<const float> expected, std::span<const float> actual) {
    constexpr Deviation incomparable{-1.0, -1.0};
    if (expected.size() != actual.size()) return incomparable;
    double difference = 0.0;
    double difference_max = 0.0;
    double magnitude = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        if (std::isinf(expected[i]) && expected[i] == actual[i]) continue;
        if (!std::isfinite(expected[i]) || !std::isfinite(actual[i])) return incomparable;
        const double delta = double{expected[i]} - double{actual[i]};
        difference += delta * delta;
        difference_max = std::max(difference_max, std::abs(delta));
        magnitude += double{expected[i]} * double{expected[i]};
    }
    if (difference == 0.0) return {};
    // Where all expected values are zero, the absolute differences stand for the relative ones.
    if (magnitude == 0.0) return {difference, difference_max};
    const double scale = std::sqrt(magnitude / static_cast<double>(expected.size()));
    return {difference / magnitude, difference_max / scale};
}

bool acceptable(const Deviation& deviation, double error_max) {
    // Rounding errors spread like a bell: among a million values none is ten times the usual.
    constexpr double worst_per_usual = 10.0;
    return deviation.mean >= 0.0 && deviation.mean <= error_max &&
           deviation.worst <= worst_per_usual * std::sqrt(error_max);
}

std::size_t SelfTestReport::count(Verdict verdict) const {
    return static_cast<std::size_t>(
        std::ranges::count(operations, verdict, &OperationResult::verdict));
}

bool SelfTestReport::passed() const {
    return fault.empty() && count(Verdict::failed) == 0 && count(Verdict::passed) > 0;
}

std::string SelfTestReport::summary() const {
    constexpr std::size_t names_shown_max = 3;
    if (!fault.empty()) return fault;
    const auto failed = count(Verdict::failed);
    if (failed == 0) {
        return std::to_string(count(Verdict::passed)) + " operations passed, " +
               std::to_string(count(Verdict::unsupported)) + " unsupported";
    }
    std::string text = std::to_string(failed) + " of " + std::to_string(operations.size()) +
                       " operations gave wrong results:";
    std::size_t shown = 0;
    for (const auto& operation : operations) {
        if (operation.verdict != Verdict::failed) continue;
        if (shown++ == names_shown_max) return text + ", ...";
        text += (shown == 1 ? " " : ", ") + operation.name;
    }
    return text;
}

std::string device_identity(const DeviceFacts& facts) {
    const std::string settings = facts.backend == "Vulkan" ? vulkan_settings() : std::string();
    return facts.backend + " | " + facts.name + " | " + facts.driver_name + " " +
           facts.driver_version + " | ggml " + ggml_version_text() + " | test " +
           std::to_string(self_test_version) + settings;
}

Result<SelfTestReport> run_self_test(const Device& device, const Device& cpu,
                                     const SelfTestOptions& options) {
    const auto start_us = platform::monotonic_us();
    EXO_TRY_ASSIGN(auto compute, Compute::create(device, {}));
    EXO_TRY_ASSIGN(auto reference, create_reference(cpu));
    WeightCache weights;
    SelfTestReport report;
    report.identity = device_identity(device.facts);
    auto cases = self_test_cases();
    std::erase_if(cases, [&](const Case& test_case) {
        return (!options.groups.empty() &&
                !std::ranges::contains(options.groups, test_case.group)) ||
               (options.wanted && !options.wanted(test_case.name));
    });
    for (const auto& test_case : cases) {
        if (options.on_case) {
            options.on_case(report.operations.size(), cases.size(), test_case.name);
        }
        EXO_TRY_ASSIGN(auto result, run_case(test_case, compute, reference, weights, options));
        report.operations.push_back(std::move(result));
    }
    report.duration_us = platform::monotonic_us() - start_us;
    return report;
}

}  // namespace exomesh::device
