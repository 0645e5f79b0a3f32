#include "main/bench_command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <format>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/version.h"
#include "device/cpu_topology.h"
#include "engine/bench.h"
#include "main/catalogue.h"
#include "main/cluster_flags.h"
#include "main/engine_flags.h"
#include "main/model_facts.h"
#include "main/terminal.h"
#include "model/chat_template.h"
#include "platform/clock.h"

namespace exomesh::main {

namespace {

constexpr std::uint32_t test_count_max = 1000;
constexpr std::uint32_t tokens_max = 1 << 20;

// Lists are written as llama-bench takes them: "1,2,4".
struct BenchOptions {
    std::vector<std::string> models;
    std::string threads = "0";
    std::string prompts = "512";
    std::string generated = "128";
    std::string depths = "0";
    std::string prompt_generated;  // "512,128": one test of both
    std::uint32_t repetition_count = 5;
    std::uint32_t batch = 2048;
    std::uint32_t chunk_length = 512;
    std::string flash_attention = "1";
    std::string cache_type = "f16";
    std::string cache_type_values;
    ClusterFlags cluster;
    std::uint32_t gpu_layers = 99;
    std::string device = "auto";
    std::string output = "md";
};

// One line of the table.
struct Measured {
    ModelFacts facts;
    engine::EngineInformation information;
    engine::BenchTest test;
    engine::BenchResult result;
    std::uint32_t thread_count = 0;
    std::int64_t began_s = 0;
};

Result<std::vector<std::uint32_t>> parse_list(std::string_view name, const std::string& text) {
    std::vector<std::uint32_t> values;
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    while (at != end) {
        std::uint32_t value = 0;
        const auto [rest, error] = std::from_chars(at, end, value);
        const bool more = rest != end && *rest == ',' && rest + 1 != end;
        if (error != std::errc() || value > tokens_max || (rest != end && !more)) {
            return fail(ErrorCode::invalid_argument,
                        std::format("{} wants numbers up to {} like 1,2,4, not '{}'.", name,
                                    tokens_max, text));
        }
        values.push_back(value);
        at = more ? rest + 1 : rest;
    }
    return values;
}

Result<std::vector<engine::BenchTest>> parse_tests(const BenchOptions& options) {
    EXO_TRY_ASSIGN(const auto prompts, parse_list("-p", options.prompts));
    EXO_TRY_ASSIGN(const auto generated, parse_list("-n", options.generated));
    EXO_TRY_ASSIGN(const auto depths, parse_list("-d", options.depths));
    EXO_TRY_ASSIGN(const auto both, parse_list("-pg", options.prompt_generated));
    if (!both.empty() && both.size() != 2) {
        return fail(ErrorCode::invalid_argument, "-pg wants two numbers like 512,128.");
    }
    std::vector<engine::BenchTest> tests;
    for (const std::uint32_t depth : depths) {
        for (const std::uint32_t count : prompts) {
            if (count > 0) tests.push_back({.prompt_count = count, .depth = depth});
        }
        for (const std::uint32_t count : generated) {
            if (count > 0) tests.push_back({.generated_count = count, .depth = depth});
        }
        if (both.size() == 2) {
            tests.push_back({.prompt_count = both[0], .generated_count = both[1], .depth = depth});
        }
    }
    if (tests.empty() || tests.size() > test_count_max) {
        return fail(ErrorCode::invalid_argument, "there is nothing to measure.",
                    "Give -p or -n a number above 0.");
    }
    return tests;
}

std::string test_name(const engine::BenchTest& test) {
    const std::string depth = test.depth > 0 ? std::format(" @ d{}", test.depth) : "";
    if (test.generated_count == 0) return std::format("pp{}{}", test.prompt_count, depth);
    if (test.prompt_count == 0) return std::format("tg{}{}", test.generated_count, depth);
    return std::format("pp{}+tg{}{}", test.prompt_count, test.generated_count, depth);
}

constexpr const char* table_head =
    "| model                          |       size |     params | backend    | threads |           "
    " "
    "test |                  t/s |\n"
    "| ------------------------------ | ---------: | ---------: | ---------- | ------: | "
    "--------------: | -------------------: |\n";

std::string table_row(const Measured& measured) {
    const std::string speed =
        std::format("{:.2f} ± {:.2f}", measured.result.avg_ts, measured.result.stddev_ts);
    return std::format("| {:<30} | {:>10} | {:>10} | {:<10} | {:>7} | {:>15} | {:>20} |\n",
                       measured.facts.type, bytes_text(measured.facts.tensor_bytes),
                       count_text(measured.facts.parameter_count), measured.information.device,
                       measured.thread_count, test_name(measured.test), speed);
}

std::uint64_t rounded(double value) {
    return static_cast<std::uint64_t>(std::llround(value));
}

model::Json json_entry(const BenchOptions& options, const Measured& measured) {
    const engine::BenchResult& result = measured.result;
    return {{"build_version", version},
            {"cpu_info", device::processor_name()},
            {"backends", measured.information.device},
            {"model_filename", measured.facts.path},
            {"model_type", measured.facts.type},
            {"model_size", measured.facts.tensor_bytes},
            {"model_n_params", measured.facts.parameter_count},
            {"n_batch", options.batch},
            {"n_ubatch", options.chunk_length},
            {"n_threads", measured.thread_count},
            {"type_k", options.cache_type},
            {"type_v", options.cache_type},
            {"flash_attn", options.flash_attention != "0"},
            {"n_prompt", measured.test.prompt_count},
            {"n_gen", measured.test.generated_count},
            {"n_depth", measured.test.depth},
            {"test_time", measured.began_s},
            {"avg_ns", rounded(result.avg_ns)},
            {"stddev_ns", rounded(result.stddev_ns)},
            {"avg_ts", result.avg_ts},
            {"stddev_ts", result.stddev_ts},
            {"samples_ns", result.samples_ns},
            {"samples_ts", result.samples_ts}};
}

// Measures every test of one model and thread count; `on_measured` false ends it.
Result<> measure(const BenchOptions& options, const std::string& model, std::uint32_t threads,
                 const std::vector<engine::BenchTest>& tests,
                 const std::function<bool(const Measured&)>& on_measured) {
    engine::EngineOptions engine_options;
    EXO_TRY_ASSIGN(engine_options.model_path, find_model(model, model_folders()));
    engine_options.device = options.gpu_layers == 0 ? "cpu" : options.device;
    engine_options.thread_count = threads;
    engine_options.chunk_length = options.chunk_length;
    engine_options.flash_attention = options.flash_attention != "0";
    engine_options.cache_type =
        options.cache_type == "q8_0" ? engine::CacheType::q8_0 : engine::CacheType::f16;
    Measured measured;
    EXO_TRY_ASSIGN(measured.facts, read_model_facts(engine_options.model_path));
    measured.thread_count = threads == 0 ? device::physical_core_count() : threads;
    EXO_TRY(use_cluster(options.cluster, engine_options));
    EXO_TRY_ASSIGN(auto bench, engine::Bench::open(engine_options, tests));
    measured.information = bench.information();
    for (const engine::BenchTest& test : tests) {
        measured.test = test;
        measured.began_s = platform::unix_s();
        EXO_TRY_ASSIGN(measured.result, bench.run(test, options.repetition_count));
        if (!on_measured(measured)) return fail(ErrorCode::io, "nobody reads the output any more.");
    }
    return {};
}

Result<> bench_all(const BenchOptions& options) {
    EXO_TRY_ASSIGN(const auto tests, parse_tests(options));
    EXO_TRY_ASSIGN(const auto thread_counts, parse_list("-t", options.threads));
    if (thread_counts.empty() || std::ranges::max(thread_counts) > thread_count_max) {
        return fail(ErrorCode::invalid_argument,
                    std::format("-t wants numbers of threads up to {} like 1,2,4, not '{}'.",
                                thread_count_max, options.threads));
    }
    if (!options.cache_type_values.empty() && options.cache_type_values != options.cache_type) {
        return fail(ErrorCode::unsupported, "keys and values share one cache type.",
                    "Give -ctv the same as -ctk.");
    }
    const bool as_json = options.output == "json";
    model::Json entries = model::Json::array();
    const auto on_measured = [&](const Measured& measured) {
        if (!as_json) return print(table_row(measured));
        entries.push_back(json_entry(options, measured));
        return true;
    };
    if (!as_json && !print(table_head)) return fail(ErrorCode::io, "cannot write the table.");
    for (const std::string& model : options.models) {
        for (const std::uint32_t threads : thread_counts) {
            EXO_TRY(measure(options, model, threads, tests, on_measured));
        }
    }
    if (as_json && !print(entries.dump(2) + "\n")) {
        return fail(ErrorCode::io, "cannot write the figures.");
    }
    return {};
}

ExitCode bench(const BenchOptions& options) {
    const auto done = bench_all(options);
    return done ? ExitCode::success : report(done.error());
}

}  // namespace

void add_bench_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<BenchOptions>();
    CLI::App& command =
        *program.add_subcommand("bench", "measure tokens per second, as llama-bench does");
    command.add_option("--model,-m", options->models, "a model (repeatable)")
        ->required()
        ->allow_extra_args(false);
    command.add_option("--threads,-t", options->threads, "CPU threads; 0: one per physical core")
        ->capture_default_str();
    command.add_option("--n-prompt,-p", options->prompts, "lengths of prompts; 0: none")
        ->capture_default_str();
    command.add_option("--n-gen,-n", options->generated, "tokens to generate; 0: none")
        ->capture_default_str();
    command.add_option("--pg", options->prompt_generated, "-pg 512,128: one test of both");
    command.add_option("--n-depth,-d", options->depths, "tokens in the context before")
        ->capture_default_str();
    command.add_option("--repetitions,-r", options->repetition_count, "runs of each test")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    command.add_option("--batch-size,-b", options->batch, "taken for llama-bench's sake")
        ->check(CLI::Range(1U, tokens_max));
    command.add_option("--ubatch-size", options->chunk_length, "-ub: prompt tokens per step")
        ->check(CLI::Range(1U, tokens_max))
        ->capture_default_str();
    command.add_option("--flash-attn", options->flash_attention, "-fa: 1 or 0")
        ->check(CLI::IsMember({"0", "1", "on", "off", "auto"}))
        ->transform(CLI::Transformer({{"on", "1"}, {"off", "0"}, {"auto", "1"}}));
    command.add_option("--cache-type-k", options->cache_type, "-ctk: f16 or q8_0")
        ->check(CLI::IsMember({"f16", "q8_0"}));
    command.add_option("--cache-type-v", options->cache_type_values, "-ctv: as -ctk")
        ->check(CLI::IsMember({"f16", "q8_0"}));
    add_cluster_flags(command, options->cluster);
    command.add_option("--n-gpu-layers", options->gpu_layers, "-ngl: 0 measures the CPU");
    command.add_option("--device", options->device, "a device of `exomesh doctor`")
        ->capture_default_str();
    command.add_option("--output,-o", options->output, "md or json")
        ->check(CLI::IsMember({"md", "json"}))
        ->capture_default_str();
    choose_on_parse(command, chosen, options, bench);
}

std::vector<std::string> translate_bench_arguments(std::vector<std::string> arguments) {
    constexpr std::pair<std::string_view, std::string_view> names[] = {
        {"-ub", "--ubatch-size"}, {"-fa", "--flash-attn"},    {"-ctk", "--cache-type-k"},
        {"-pg", "--pg"},          {"-ngl", "--n-gpu-layers"}, {"-ctv", "--cache-type-v"},
    };
    if (arguments.empty() || arguments.front() != "bench") return arguments;
    for (std::string& argument : arguments) {
        for (const auto& [theirs, ours] : names) {
            if (argument == theirs) argument = ours;
        }
    }
    return arguments;
}

}  // namespace exomesh::main
