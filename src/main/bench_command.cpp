#include "main/bench_command.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <format>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/cpu_topology.h"
#include "engine/bench.h"
#include "main/bench_report.h"
#include "main/catalogue.h"
#include "main/cluster_flags.h"
#include "main/engine_flags.h"
#include "main/model_facts.h"
#include "main/terminal.h"
#include "platform/clock.h"

namespace exomesh::main {

namespace {

constexpr std::uint32_t test_count_max = 1000;
constexpr std::uint32_t tokens_max = 1 << 20;

using Lists = std::vector<std::string>;

// Lists are written as llama-bench takes them: "1,2,4", or one option after the other.
struct BenchOptions {
    Lists models;
    Lists threads = {"0"};
    Lists prompts = {"512"};
    Lists generated = {"128"};
    Lists depths = {"0"};
    std::string prompt_generated;  // "512,128": one test of both
    std::uint32_t repetition_count = 5;
    std::uint32_t batch = 2048;
    std::uint32_t chunk_length = 512;
    std::string flash_attention = "1";
    std::string cache_type = "f16";
    std::string cache_type_values;
    ClusterFlags cluster;
    std::int32_t gpu_layers = 99;  // llama-bench's: all; so is -1, 0 is none
    std::string device = "auto";
    std::string output = "md";
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

Result<std::vector<std::uint32_t>> parse_lists(std::string_view name, const Lists& texts) {
    std::vector<std::uint32_t> values;
    for (const std::string& text : texts) {
        EXO_TRY_ASSIGN(const std::vector<std::uint32_t> some, parse_list(name, text));
        values.insert(values.end(), some.begin(), some.end());
    }
    return values;
}

std::string text_of(const Lists& texts) {
    std::string all;
    for (const std::string& text : texts) all += (all.empty() ? "" : ",") + text;
    return all;
}

// One text each time, so that a word behind it is a word.
CLI::Option* add_lists(CLI::App& command, const std::string& names, Lists& lists,
                       const std::string& help) {
    return command.add_option(names, lists, help)
        ->allow_extra_args(false)
        ->default_str(text_of(lists));
}

Result<std::vector<engine::BenchTest>> parse_tests(const BenchOptions& options) {
    EXO_TRY_ASSIGN(const auto prompts, parse_lists("-p", options.prompts));
    EXO_TRY_ASSIGN(const auto generated, parse_lists("-n", options.generated));
    EXO_TRY_ASSIGN(const auto depths, parse_lists("-d", options.depths));
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
    if (tests.size() > test_count_max) {
        return fail(
            ErrorCode::invalid_argument,
            std::format("these are {} tests; {} are possible.", tests.size(), test_count_max),
            "Give fewer values to -p, -n and -d.");
    }
    if (tests.empty()) {
        return fail(ErrorCode::invalid_argument, "there is nothing to measure.",
                    "Give -p or -n a number above 0.");
    }
    return tests;
}

model::Json settings_json(const BenchOptions& options) {
    return {{"n_batch", options.batch},
            {"n_ubatch", options.chunk_length},
            {"type_k", options.cache_type},
            {"type_v", options.cache_type},
            {"flash_attn", options.flash_attention != "0"}};
}

// A device computes all layers or none: what llama-bench would divide must not pass for that.
Result<> check_gpu_layers(std::int32_t gpu_layers, std::uint32_t layer_count) {
    if (gpu_layers <= 0 || static_cast<std::uint32_t>(gpu_layers) >= layer_count) return {};
    return fail(ErrorCode::unsupported,
                std::format("-ngl {} would leave some of the model's {} layers to the CPU; a "
                            "device takes all or none.",
                            gpu_layers, layer_count),
                std::format("Give -ngl 99 or 0, or divide the layers: --split \"0-{}:DEVICE "
                            "{}-{}:cpu\".",
                            gpu_layers - 1, gpu_layers, layer_count - 1));
}

using LineSink = std::function<bool(const BenchLine&)>;  // false: nobody reads any more

// Measures every test of one model and thread count.
Result<> measure(const BenchOptions& options, const std::string& path, std::uint32_t threads,
                 const std::vector<engine::BenchTest>& tests, const LineSink& on_line,
                 const std::function<void(const BenchLine&)>& on_end) {
    engine::EngineOptions engine_options;
    engine_options.model_path = path;
    engine_options.device = options.gpu_layers == 0 ? "cpu" : options.device;
    engine_options.thread_count = threads;
    engine_options.chunk_length = options.chunk_length;
    engine_options.flash_attention = options.flash_attention != "0";
    engine_options.cache_type =
        options.cache_type == "q8_0" ? engine::CacheType::q8_0 : engine::CacheType::f16;
    BenchLine line;
    EXO_TRY_ASSIGN(line.facts, read_model_facts(engine_options.model_path));
    ClusterFlags flags = options.cluster;
    flags.on_links = [&line](const runner::LinkReport& links) { line.links = links; };
    const auto take_shape = [&line](const ClusterShape& shape) {
        line.rank_count = shape.rank_count;
        line.split = shape.split;
        line.thread_count =
            shape.thread_count == 0 ? device::physical_core_count() : shape.thread_count;
    };
    EXO_TRY_ASSIGN(const ClusterShape shape, use_cluster(flags, engine_options, take_shape));
    take_shape(shape);
    line.wire = flags.wire;
    EXO_TRY_ASSIGN(auto bench, engine::Bench::open(engine_options, tests));
    line.information = bench.information();
    for (const engine::BenchTest& test : tests) {
        line.test = test;
        line.began_s = platform::unix_s();
        EXO_TRY_ASSIGN(line.result, bench.run(test, options.repetition_count));
        if (!on_line(line)) return fail(ErrorCode::io, "nobody reads the output any more.");
    }
    on_end(line);
    return {};
}

Result<> bench_all(const BenchOptions& options) {
    EXO_TRY_ASSIGN(const auto tests, parse_tests(options));
    EXO_TRY_ASSIGN(const auto thread_counts, parse_lists("-t", options.threads));
    if (thread_counts.empty() || std::ranges::max(thread_counts) > thread_count_max) {
        return fail(ErrorCode::invalid_argument,
                    std::format("-t wants numbers of threads up to {} like 1,2,4, not '{}'.",
                                thread_count_max, text_of(options.threads)));
    }
    if (!options.cache_type_values.empty() && options.cache_type_values != options.cache_type) {
        return fail(ErrorCode::unsupported, "keys and values share one cache type.",
                    "Give -ctv the same as -ctk.");
    }
    // What is wrong shows before anything was measured.
    std::vector<std::string> paths;
    for (const std::string& model : options.models) {
        EXO_TRY_ASSIGN(std::string path, find_model(model, model_folders()));
        EXO_TRY_ASSIGN(const ModelFacts facts, read_model_facts(path));
        EXO_TRY(check_gpu_layers(options.gpu_layers, facts.architecture.layer_count));
        paths.push_back(std::move(path));
    }
    const bool as_json = options.output == "json";
    const bool is_cluster = wants_cluster(options.cluster);
    model::Json entries = model::Json::array();
    std::string links;
    const auto on_line = [&](const BenchLine& line) {
        if (!as_json) return print(table_row(line, is_cluster));
        entries.push_back(json_entry(line, settings_json(options)));
        return true;
    };
    const auto on_end = [&](const BenchLine& line) {
        if (is_cluster && line.rank_count > 1) links += links_table(line);
    };
    if (!as_json && !print(table_head(is_cluster))) {
        return fail(ErrorCode::io, "cannot write the table.");
    }
    for (const std::string& path : paths) {
        for (const std::uint32_t threads : thread_counts) {
            EXO_TRY(measure(options, path, threads, tests, on_line, on_end));
        }
    }
    if (!as_json && !print(links)) return fail(ErrorCode::io, "cannot write the table.");
    // A path need not be UTF-8.
    if (as_json &&
        !print(entries.dump(2, ' ', false, model::Json::error_handler_t::replace) + "\n")) {
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
    add_lists(command, "--threads,-t", options->threads, "CPU threads; 0: one per physical core");
    add_lists(command, "--n-prompt,-p", options->prompts, "lengths of prompts; 0: none");
    add_lists(command, "--n-gen,-n", options->generated, "tokens to generate; 0: none");
    command.add_option("--pg", options->prompt_generated, "-pg 512,128: one test of both");
    add_lists(command, "--n-depth,-d", options->depths, "tokens in the context before");
    command.add_option("--repetitions,-r", options->repetition_count, "runs of each test")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    command.add_option("--batch-size,-b", options->batch, "taken for llama-bench's sake")
        ->check(CLI::Range(1U, tokens_max));
    command.add_option("--ubatch-size", options->chunk_length, "-ub: prompt tokens per step")
        ->check(CLI::Range(1U, chunk_length_max))
        ->capture_default_str();
    command.add_option("--flash-attn", options->flash_attention, "-fa: 1 or 0")
        ->check(CLI::IsMember({"0", "1", "on", "off", "auto"}))
        ->transform(CLI::Transformer({{"on", "1"}, {"off", "0"}, {"auto", "1"}}));
    command.add_option("--cache-type-k", options->cache_type, "-ctk: f16 or q8_0")
        ->check(CLI::IsMember({"f16", "q8_0"}));
    command.add_option("--cache-type-v", options->cache_type_values, "-ctv: as -ctk")
        ->check(CLI::IsMember({"f16", "q8_0"}));
    add_cluster_flags(command, options->cluster);
    command
        .add_option("--n-gpu-layers", options->gpu_layers,
                    "-ngl: 0 measures the CPU; 99 or -1: all on the device")
        ->check(CLI::Range(-1, std::numeric_limits<std::int32_t>::max()));
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
