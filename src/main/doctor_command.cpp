#include "main/doctor_command.h"

#include <format>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/version.h"
#include "device/cpu_topology.h"
#include "device/device.h"
#include "device/speed.h"
#include "device/trust.h"
#include "main/catalogue.h"
#include "main/engine_flags.h"
#include "main/generate.h"
#include "main/model_facts.h"
#include "main/program.h"
#include "main/terminal.h"
#include "model/chat_template.h"
#include "platform/system_memory.h"

namespace exomesh::main {

namespace {

struct DoctorOptions {
    bool json = false;
    bool bench = false;
    bool no_benchmark = false;
};

struct SelfTestCommandOptions {
    std::string device_id;
    std::vector<std::string> groups;
};

struct Examined {
    device::DeviceFacts facts;
    std::string self_test;
    std::optional<bool> passed = {};  // nothing: not tested
    std::optional<device::BenchmarkReport> speed;
};

struct Benchmark {
    std::string model;
    engine::Usage usage;
};

struct Diagnosis {
    std::vector<Examined> devices;
    std::string chosen;
    std::string chosen_reason;
    std::string gpu_absence;
    std::vector<device::LoadStep> steps;
    std::optional<Benchmark> benchmark;
    std::vector<std::string> problems;  // what is broken: the exit code
    std::vector<std::string> advice;    // what is missing, and how to get it
};

constexpr std::uint32_t benchmark_tokens = 64;

// The prompt is counted as prefill: long enough to be measured, short enough to be quick.
Result<Benchmark> benchmark(const std::string& path) {
    EngineFlags flags;
    flags.model = path;
    flags.options.slot_count = 1;
    flags.options.context_length = 512;
    EXO_TRY_ASSIGN(const auto engine, open_engine(flags));
    engine::GenerateRequest request;
    std::string text;
    for (int i = 1; i <= 64; ++i) text += "word " + std::to_string(i) + " ";
    request.prompt = engine->tokenizer().encode(text, model::SpecialTokens::as_text,
                                                model::SequenceStart::as_model_wants);
    if (request.prompt.size() > 256) request.prompt.resize(256);
    request.sampling.temperature = 0.0F;
    request.max_tokens = benchmark_tokens;
    request.ignore_end = true;
    const InterruptScope interrupt;
    EXO_TRY_ASSIGN(const Answer answer,
                   generate(*engine, std::move(request), interrupt, [](auto) { return true; }));
    return Benchmark{path, answer.usage};
}

Examined examine(const device::Device& candidate, const device::Device& cpu) {
    Examined examined{.facts = candidate.facts,
                      .self_test = "not run: EXOMESH_SELF_TEST=off",
                      .speed = device::kept_benchmark(candidate)};
    if (!device::are_self_tests_wanted()) return examined;
    examined.passed = false;
    const auto report = device::trusted_report(
        candidate, cpu, {.program = own_program(), .on_progress = show_self_test});
    if (!report) {
        examined.self_test = report.error().text();
        return examined;
    }
    examined.self_test = report->fault.empty() ? report->summary() : report->fault;
    examined.passed = report->passed();
    return examined;
}

// Measures the device anew; a failure is a problem of the diagnosis.
void measure(const device::Device& device, Examined& examined, Diagnosis& diagnosis) {
    if (examined.passed == false || device.facts.kind == device::DeviceKind::software_gpu) return;
    print_note("measuring " + device.facts.id + "\n");
    auto report = device::run_and_keep_benchmark(device);
    if (report) {
        examined.speed = *std::move(report);
    } else {
        diagnosis.problems.push_back("the benchmark of " + device.facts.id +
                                     " failed: " + report.error().text());
    }
}

void examine_devices(const DoctorOptions& options, Diagnosis& diagnosis) {
    auto& registry = device::DeviceRegistry::instance();
    const auto devices = registry.devices();
    const auto cpu = registry.cpu();
    if (!devices || !cpu) {
        diagnosis.problems.push_back((devices ? cpu.error() : devices.error()).text());
        return;
    }
    for (const device::Device& candidate : *devices) {
        if (candidate.facts.kind == device::DeviceKind::accelerator) continue;
        diagnosis.devices.push_back(examine(candidate, *cpu));
        Examined& examined = diagnosis.devices.back();
        if (options.bench) measure(candidate, examined, diagnosis);
        if (examined.passed == false) {
            diagnosis.problems.push_back(examined.facts.id +
                                         " failed its self-test: " + examined.self_test +
                                         " It is not used; a newer driver may help.");
        }
    }
    diagnosis.gpu_absence = registry.gpu_absence_reason();
    if (!diagnosis.gpu_absence.empty()) diagnosis.advice.push_back(diagnosis.gpu_absence);
    if (const auto choice = registry.choose("auto")) {
        diagnosis.chosen = choice->device.facts.id;
        diagnosis.chosen_reason = choice->reason;
    } else {
        diagnosis.problems.push_back(choice.error().text());
    }
}

Diagnosis diagnose(const DoctorOptions& options) {
    Diagnosis diagnosis;
    examine_devices(options, diagnosis);
    const bool is_wanted = !options.no_benchmark && diagnosis.problems.empty();
    const auto path = find_model("smollm2", model_folders());
    if (is_wanted && !path) {
        diagnosis.advice.push_back("no benchmark: " + path.error().text());
    } else if (is_wanted) {
        auto measured = benchmark(*path);
        if (measured) {
            diagnosis.benchmark = std::move(*measured);
        } else {
            diagnosis.problems.push_back("the benchmark failed: " + measured.error().text());
        }
    }
    diagnosis.steps = device::DeviceRegistry::instance().load_steps();
    return diagnosis;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

// One line for each weight type, and one for the copies.
std::vector<std::string> speed_lines(const Examined& examined) {
    if (!examined.speed) {
        const bool can = examined.facts.kind != device::DeviceKind::software_gpu;
        return {can ? "not measured yet: `exomesh doctor --bench` does" : ""};
    }
    std::vector<std::string> lines;
    for (const device::WeightSpeed& weight : examined.speed->weights) {
        lines.push_back(std::format("{:<5} decodes {:.1f} GB/s, prefills {:.0f} GFLOP/s",
                                    weight.type, weight.decode_bytes_per_s / 1e9,
                                    weight.prefill_flop_per_s / 1e9));
    }
    lines.push_back(std::format("copy  {:.1f} GB/s to it, {:.1f} GB/s back",
                                examined.speed->upload_bytes_per_s / 1e9,
                                examined.speed->download_bytes_per_s / 1e9));
    return lines;
}

std::string device_text(const Examined& examined) {
    const device::DeviceFacts& facts = examined.facts;
    const std::string kind(device::kind_name(facts.kind));
    std::string text =
        std::format("  {:<10}{}, {}\n", facts.id, facts.name,
                    kind == facts.backend ? kind : kind + " through " + facts.backend);
    const auto line = [&](const char* name, const std::string& value) {
        if (!value.empty()) text += std::format("            {:<10}{}\n", name, value);
    };
    line("memory", std::format("{} free of {}{}", bytes_text(facts.memory_free_bytes),
                               bytes_text(facts.memory_total_bytes),
                               facts.unified_memory ? ", the system's own" : ""));
    line("driver",
         facts.driver_name + (facts.driver_version.empty() ? "" : " ") + facts.driver_version);
    line("library", facts.backend_file);
    line("features", joined(facts.features));
    line("self-test", examined.self_test);
    const char* name = "speed";
    for (const std::string& speed : speed_lines(examined)) line(std::exchange(name, ""), speed);
    return text;
}

std::string diagnosis_text(const Diagnosis& diagnosis) {
    const auto memory = platform::system_memory();
    std::string text = std::format(
        "exomesh {}, ggml {}\n{}, {} physical cores, {} free of {} memory\n\nDevices\n", version,
        device::ggml_version_text(), device::processor_name(), device::physical_core_count(),
        bytes_text(memory.free_bytes), bytes_text(memory.total_bytes));
    for (const Examined& examined : diagnosis.devices) text += device_text(examined);
    if (!diagnosis.chosen.empty()) {
        text += std::format("\nModels run on {}: {}\n", diagnosis.chosen, diagnosis.chosen_reason);
    }
    if (diagnosis.benchmark) {
        text += std::format("\nBenchmark ({})\n  {}\n", diagnosis.benchmark->model,
                            speed_line(diagnosis.benchmark->usage));
    }
    for (const device::LoadStep& step : diagnosis.steps) {
        if (!step.failure.empty()) text += std::format("\n{}: {}\n", step.name, step.failure);
    }
    for (const std::string& advice : diagnosis.advice) text += "\nMissing: " + advice + "\n";
    for (const std::string& problem : diagnosis.problems) text += "\nBroken: " + problem + "\n";
    if (diagnosis.problems.empty()) text += "\nEverything that is here works.\n";
    return text;
}

model::Json speed_json(const std::optional<device::BenchmarkReport>& speed) {
    if (!speed) return nullptr;
    model::Json weights = model::Json::array();
    for (const device::WeightSpeed& weight : speed->weights) {
        weights.push_back({{"type", weight.type},
                           {"decode_bytes_per_s", weight.decode_bytes_per_s},
                           {"prefill_flop_per_s", weight.prefill_flop_per_s}});
    }
    return {{"weights", weights},
            {"upload_bytes_per_s", speed->upload_bytes_per_s},
            {"download_bytes_per_s", speed->download_bytes_per_s}};
}

model::Json diagnosis_json(const Diagnosis& diagnosis) {
    model::Json devices = model::Json::array();
    for (const Examined& examined : diagnosis.devices) {
        const device::DeviceFacts& facts = examined.facts;
        devices.push_back(
            {{"id", facts.id},
             {"name", facts.name},
             {"kind", device::kind_name(facts.kind)},
             {"backend", facts.backend},
             {"backend_file", facts.backend_file},
             {"memory_total_bytes", facts.memory_total_bytes},
             {"memory_free_bytes", facts.memory_free_bytes},
             {"driver_name", facts.driver_name},
             {"driver_version", facts.driver_version},
             {"pci_address", facts.pci_address},
             {"features", facts.features},
             {"unified_memory", facts.unified_memory},
             {"self_test_passed", examined.passed ? model::Json(*examined.passed) : model::Json()},
             {"self_test", examined.self_test},
             {"speed", speed_json(examined.speed)}});
    }
    model::Json steps = model::Json::array();
    for (const device::LoadStep& step : diagnosis.steps) {
        steps.push_back(
            {{"name", step.name}, {"duration_us", step.duration_us}, {"failure", step.failure}});
    }
    const auto memory = platform::system_memory();
    model::Json json = {{"version", version},
                        {"ggml_version", device::ggml_version_text()},
                        {"processor", device::processor_name()},
                        {"physical_core_count", device::physical_core_count()},
                        {"memory_total_bytes", memory.total_bytes},
                        {"memory_free_bytes", memory.free_bytes},
                        {"devices", devices},
                        {"chosen", diagnosis.chosen},
                        {"chosen_reason", diagnosis.chosen_reason},
                        {"load_steps", steps},
                        {"advice", diagnosis.advice},
                        {"problems", diagnosis.problems},
                        {"benchmark", nullptr}};
    if (diagnosis.benchmark) {
        const engine::Usage& usage = diagnosis.benchmark->usage;
        json["benchmark"] = {{"model", diagnosis.benchmark->model},
                             {"prompt_tokens", usage.prompt_tokens},
                             {"prefill_us", usage.prefill_us},
                             {"completion_tokens", usage.completion_tokens},
                             {"decode_us", usage.decode_us}};
    }
    return json;
}

ExitCode doctor(const DoctorOptions& options) {
    const Diagnosis diagnosis = diagnose(options);
    const std::string text =
        options.json
            ? diagnosis_json(diagnosis).dump(2, ' ', false, model::Json::error_handler_t::replace) +
                  "\n"
            : diagnosis_text(diagnosis);
    if (!print(text)) return ExitCode::failure;
    return diagnosis.problems.empty() ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void add_doctor_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<DoctorOptions>();
    CLI::App& command =
        *program.add_subcommand("doctor", "show the devices, test them, and say what is missing");
    command.add_flag("--json", options->json, "as JSON");
    command.add_flag("--bench", options->bench,
                     "measure what each device reads and multiplies per second; the figures are "
                     "kept and shown from then on");
    command.add_flag("--no-benchmark", options->no_benchmark,
                     "do not let a small model answer, which measures the whole way");
    command.footer("Exit code: 0 when everything that is here works, 1 when something is broken.");
    choose_on_parse(command, chosen, options, doctor);
}

void add_self_test_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<SelfTestCommandOptions>();
    CLI::App& command = *program.add_subcommand(std::string(device::self_test_command),
                                                "test one device; what `doctor` starts");
    command.group("");  // not for people
    command.add_option("DEVICE", options->device_id)->required();
    command.add_option("GROUP", options->groups);
    choose_on_parse(command, chosen, options, [](const SelfTestCommandOptions& wanted) {
        const int status = device::run_self_test_command(wanted.device_id, wanted.groups);
        return status == 0 ? ExitCode::success : ExitCode::failure;
    });
}

}  // namespace exomesh::main
