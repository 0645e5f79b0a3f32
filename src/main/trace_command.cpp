#include "main/trace_command.h"

#include <format>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/version.h"
#include "engine/open_shard.h"
#include "main/engine_flags.h"
#include "main/generate.h"
#include "main/prompt_flags.h"
#include "main/terminal.h"
#include "platform/output_file.h"
#include "platform/trace.h"
#include "runner/cluster.h"
#include "runner/trace_json.h"

namespace exomesh::main {

namespace {

constexpr std::uint32_t max_tokens_default = 32;

struct TraceOptions {
    EngineFlags engine;
    SamplingFlags sampling;
    PromptFlags prompt;
    std::string output = "trace.json";
};

struct Recorded {
    platform::TraceRecorder head{platform::trace_span_count_max};
    std::string device;
    runner::ClusterRecord cluster;
};

// Answers the prompt; everything is recorded when this returns.
Result<Answer> answer(const TraceOptions& options, const std::string& prompt,
                      const InterruptScope& interrupt, Recorded& recorded) {
    EngineFlags flags = options.engine;
    flags.cluster.records_spans = true;
    flags.cluster.on_record = [&](runner::ClusterRecord got) { recorded.cluster = std::move(got); };
    EXO_TRY_ASSIGN(engine::EngineOptions opened, engine_options_of(flags));
    // What opens the executor is called on the thread that computes.
    opened.open = [&recorded, inner = opened.open ? opened.open : engine::open_shard](
                      const engine::ModelFile& model, const engine::EngineOptions& own) {
        platform::record_this_thread(&recorded.head);
        return inner(model, own);
    };
    EXO_TRY_ASSIGN(const auto loaded, load_engine(flags, std::move(opened)));
    recorded.device = loaded->information().device;
    EXO_TRY_ASSIGN(engine::GenerateRequest request,
                   build_request(*loaded, options.prompt, options.sampling, prompt));
    return generate(*loaded, std::move(request), interrupt, print);
}

std::vector<runner::TracedRank> ranks_of(Recorded& recorded) {
    std::vector<runner::TracedRank> ranks(1);
    ranks[0].name = {.device = recorded.device, .host = ""};
    ranks[0].spans = recorded.head.take(platform::trace_span_count_max);
    ranks[0].dropped_count = recorded.head.dropped_count();
    const auto& named = recorded.cluster.statistics.ranks;
    if (!named.empty()) ranks[0].name = named[0].name;
    for (std::size_t i = 0; i < recorded.cluster.workers.size(); ++i) {
        runner::RecordedSpans& worker = recorded.cluster.workers[i];
        ranks.push_back({.name = named[i + 1].name,
                         .spans = std::move(worker.spans),
                         .dropped_count = worker.dropped_count,
                         .clock = std::move(worker.clock)});
    }
    return ranks;
}

Result<void> write(const TraceOptions& options, const std::vector<runner::TracedRank>& ranks,
                   platform::OutputFile& file) {
    const runner::TraceDescription description{.program = "exomesh " + std::string(version),
                                               .model = options.engine.model};
    EXO_TRY(runner::write_trace(description, ranks,
                                [&file](std::string_view text) { return file.write(text); }));
    return file.finish();
}

std::string summary(const TraceOptions& options, const std::vector<runner::TracedRank>& ranks) {
    std::size_t span_count = 0;
    std::uint64_t dropped_count = 0;
    for (const runner::TracedRank& rank : ranks) {
        span_count += rank.spans.size();
        dropped_count += rank.dropped_count;
    }
    const std::string dropped =
        dropped_count == 0
            ? ""
            : std::format("; {} later ones found no room: ask for fewer tokens (--max-tokens)",
                          dropped_count);
    return std::format("[{} spans of {} rank{} in {}{}; open it in https://ui.perfetto.dev]",
                       span_count, ranks.size(), ranks.size() == 1 ? "" : "s", options.output,
                       dropped);
}

ExitCode trace(const TraceOptions& options) {
    const auto prompt = prompt_text(options.prompt);
    if (!prompt) return report(prompt.error());
    auto file = platform::OutputFile::create(options.output);
    if (!file) return report(file.error());
    Recorded recorded;
    const InterruptScope interrupt;
    const auto answered = answer(options, *prompt, interrupt, recorded);
    if (!answered) return report(answered.error());
    if (!print("\n")) return ExitCode::failure;
    print_note(styled(Style::faint, "[" + speed_line(answered->usage) + "]") + "\n");
    const auto ranks = ranks_of(recorded);
    const auto written = write(options, ranks, *file);
    if (!written) return report(written.error());
    print_note(styled(Style::faint, summary(options, ranks)) + "\n");
    if (interrupt.count() > 0) return exit_code_of_signal(interrupt.signal_number());
    return ExitCode::success;
}

}  // namespace

void add_trace_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<TraceOptions>();
    options->engine.options.slot_count = 1;
    options->sampling.max_tokens = max_tokens_default;
    CLI::App& command =
        *program.add_subcommand("trace", "answer one prompt, and write what every rank did when");
    command
        .add_option("MODEL", options->engine.model, "a name of `exomesh models`, or a GGUF file")
        ->required();
    add_prompt_flags(command, options->prompt);
    command
        .add_option("--output,-o", options->output,
                    "the trace, for https://ui.perfetto.dev and chrome://tracing")
        ->check([](const std::string& path) {
            return path == "-" ? "standard output is the answer's; name a file for the trace" : "";
        })
        ->capture_default_str();
    add_sampling_flags(command, options->sampling);
    add_engine_flags(command, options->engine);
    choose_on_parse(command, chosen, options, trace);
}

}  // namespace exomesh::main
