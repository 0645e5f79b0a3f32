#include "main/engine_flags.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <utility>

#include "main/catalogue.h"
#include "main/terminal.h"

namespace exomesh::main {

namespace {

std::string short_number(double value) {
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.ends_with('.')) text.pop_back();
    return text;
}

// Of a name that was checked.
engine::CacheType cache_type_of(const std::string& name) {
    if (name == "q8_0") return engine::CacheType::q8_0;
    if (name == "f32") return engine::CacheType::f32;
    return engine::CacheType::f16;
}

}  // namespace

CLI::Validator number_between(double low, double high) {
    const std::string range = short_number(low) + " to " + short_number(high);
    const auto check = [low, high, range](std::string& text) -> std::string {
        double value = 0.0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        const bool whole = error == std::errc() && end == text.data() + text.size();
        // Written so that NaN fails.
        return whole && value >= low && value <= high ? ""
                                                      : "'" + text + "' is no number from " + range;
    };
    return {check, range};
}

void add_engine_flags(CLI::App& command, EngineFlags& flags) {
    command.add_option("--device,-d", flags.options.device,
                       "auto, cpu, or a device id as `exomesh doctor` lists them");
    command
        .add_option("--threads,-t", flags.options.thread_count,
                    "CPU threads; 0: one per physical core")
        ->check(CLI::Range(0U, thread_count_max));
    command.add_option("--context,-c", flags.options.context_length,
                       "tokens of context per request; 0: the model's own, at most 8192");
    command
        .add_option("--chunk", flags.options.chunk_length,
                    "prompt tokens per step at most: what a running answer waits for")
        ->check(CLI::Range(1U, chunk_length_max))
        ->capture_default_str();
    command.add_option("--cache-type", flags.cache_type, "element type of the KV cache")
        ->check(CLI::IsMember({"f16", "q8_0", "f32"}));
    command
        .add_option("--weights", flags.weight_layout,
                    "fast, or exact: rounds as llama.cpp does (CPU, slower for Q4_1)")
        ->check(CLI::IsMember({"fast", "exact"}))
        ->capture_default_str();
    command.add_flag("--no-flash-attention", flags.no_flash_attention,
                     "compute attention the plain way");
    add_cluster_flags(command, flags.cluster);
}

void add_sampling_flags(CLI::App& command, SamplingFlags& flags) {
    engine::SamplingOptions& sampling = flags.sampling;
    command.add_option("--temperature", sampling.temperature, "0: always the most probable token")
        ->check(number_between(0.0, 100.0))
        ->capture_default_str();
    command.add_option("--top-k", sampling.top_k, "only the K most probable tokens; 0: all")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command.add_option("--top-p", sampling.top_p, "only the tokens that make up this probability")
        ->check(number_between(0.0, 1.0))
        ->capture_default_str();
    command
        .add_option("--min-p", sampling.min_p,
                    "only tokens with this share of the best one's probability")
        ->check(number_between(0.0, 1.0))
        ->capture_default_str();
    command
        .add_option("--repetition-penalty", sampling.repetition_penalty,
                    "above 1: what was said gets less probable")
        ->check(number_between(0.01, 100.0))
        ->capture_default_str();
    command.add_option("--seed", flags.seed, "of the random choice; below 0: a new one each time")
        ->capture_default_str();
    command.add_option("--max-tokens,-n", flags.max_tokens,
                       "length of an answer at most; 0: until the context is full");
    command.add_option("--stop", flags.stop, "end the answer before this text (repeatable)")
        ->allow_extra_args(false);
}

Result<engine::EngineOptions> engine_options_of(const EngineFlags& flags) {
    engine::EngineOptions options = flags.options;
    EXO_TRY_ASSIGN(options.model_path, find_model(flags.model, model_folders()));
    options.cache_type = cache_type_of(flags.cache_type);
    options.weight_layout =
        flags.weight_layout == "exact" ? engine::WeightLayout::exact : engine::WeightLayout::fast;
    options.flash_attention = !flags.no_flash_attention;
    EXO_TRY(use_cluster(flags.cluster, options));
    return options;
}

Result<std::unique_ptr<engine::Engine>> open_engine(const EngineFlags& flags) {
    EXO_TRY_ASSIGN(engine::EngineOptions options, engine_options_of(flags));
    return load_engine(flags, std::move(options));
}

Result<std::unique_ptr<engine::Engine>> load_engine(const EngineFlags& flags,
                                                    engine::EngineOptions options) {
    ProgressLine progress("load " + std::filesystem::path(flags.model).filename().string());
    options.on_progress = [&progress](double fraction) { progress.update(fraction); };
    return engine::Engine::create(options);
}

engine::GenerateRequest make_request(const SamplingFlags& flags) {
    engine::GenerateRequest request;
    request.sampling = flags.sampling;
    if (flags.seed >= 0) request.sampling.seed = static_cast<std::uint64_t>(flags.seed);
    request.max_tokens = flags.max_tokens;
    request.stop = flags.stop;
    return request;
}

}  // namespace exomesh::main
