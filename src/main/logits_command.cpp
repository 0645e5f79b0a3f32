#include "main/logits_command.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/evaluate.h"
#include "engine/model_file.h"
#include "engine/open_shard.h"
#include "main/engine_flags.h"
#include "main/terminal.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace exomesh::main {

namespace {

constexpr std::size_t token_count_max = 1 << 20;

struct LogitsOptions {
    EngineFlags engine;
    std::string tokens_file;
    std::string text_file;
    bool wants_perplexity = false;
    std::uint32_t window_length = 512;
    std::uint32_t top = 10;
};

Result<std::vector<model::TokenId>> read_tokens(const std::string& path,
                                                std::uint32_t vocabulary_size) {
    std::ifstream file(path);
    if (!file) return fail(ErrorCode::not_found, "cannot read '" + path + "'.");
    std::vector<model::TokenId> tokens;
    std::int64_t token = 0;
    while (tokens.size() < token_count_max && file >> token) {
        if (token < 0 || token >= vocabulary_size) {
            return fail(ErrorCode::invalid_argument,
                        "the model has no token " + std::to_string(token) + ".");
        }
        tokens.push_back(static_cast<model::TokenId>(token));
    }
    if (tokens.empty() || !file.eof()) {
        return fail(ErrorCode::invalid_argument, "'" + path + "' is no list of token ids.");
    }
    return tokens;
}

struct Input {
    std::vector<model::TokenId> tokens;
    model::TokenId first = model::token_none;  // what the model wants before any text
};

Result<Input> read_input(const LogitsOptions& options, const engine::ModelFile& model) {
    Input input;
    if (options.text_file.empty()) {
        EXO_TRY_ASSIGN(input.tokens,
                       read_tokens(options.tokens_file, model.architecture.vocabulary_size));
        return input;
    }
    EXO_TRY_ASSIGN(const model::Tokenizer tokenizer, model::Tokenizer::create(model.gguf));
    std::ifstream file(options.text_file, std::ios::binary);
    if (!file) return fail(ErrorCode::not_found, "cannot read '" + options.text_file + "'.");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    input.tokens =
        tokenizer.encode(text, model::SpecialTokens::as_text, model::SequenceStart::none);
    if (tokenizer.adds_beginning_of_sequence()) input.first = tokenizer.beginning_of_sequence();
    return input;
}

// {"position": 3, "top": [[id, logprob], ...]}, the most probable first.
std::string line_of(std::uint32_t position, std::span<const float> logits, std::uint32_t top) {
    const double largest = *std::ranges::max_element(logits);
    const double sum = std::accumulate(
        logits.begin(), logits.end(), 0.0,
        [largest](double before, float logit) { return before + std::exp(logit - largest); });
    std::vector<std::size_t> order(logits.size());
    std::ranges::iota(order, 0U);
    const auto count = static_cast<std::ptrdiff_t>(std::min<std::size_t>(top, order.size()));
    std::ranges::partial_sort(order, order.begin() + count, std::ranges::greater(),
                              [&](std::size_t id) { return logits[id]; });
    model::Json best = model::Json::array();
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        const std::size_t id = order[static_cast<std::size_t>(i)];
        best.push_back({id, logits[id] - largest - std::log(sum)});
    }
    return model::Json{{"position", position}, {"top", best}}.dump() + "\n";
}

// {"tokens": 511, "negative_log_likelihood": 1801.2}
std::string line_of(const engine::Likelihood& part) {
    return model::Json{{"tokens", part.token_count},
                       {"negative_log_likelihood", part.negative_log_likelihood}}
               .dump() +
           "\n";
}

Result<> print_perplexity(const LogitsOptions& options, const Input& input,
                          engine::StepExecutor& shard) {
    // A closed pipe ends the program by its signal.
    const auto on_window = [](const engine::Likelihood& part) {
        std::ignore = print(line_of(part));
    };
    EXO_TRY_ASSIGN(const engine::Likelihood whole,
                   engine::evaluate_windows(shard, input.tokens,
                                            {.window_length = options.window_length,
                                             .chunk_length = options.engine.options.chunk_length,
                                             .first = input.first},
                                            on_window));
    if (whole.token_count == 0) return fail(ErrorCode::invalid_argument, "the text is too short.");
    const double mean = whole.negative_log_likelihood / static_cast<double>(whole.token_count);
    std::ignore = print(model::Json{{"tokens", whole.token_count},
                                    {"mean_negative_log_likelihood", mean},
                                    {"perplexity", std::exp(mean)}}
                            .dump() +
                        "\n");
    return {};
}

Result<> print_logits(const LogitsOptions& options) {
    EXO_TRY_ASSIGN(engine::EngineOptions engine_options, engine_options_of(options.engine));
    EXO_TRY_ASSIGN(const auto file, engine::ModelFile::open(engine_options.model_path));
    EXO_TRY_ASSIGN(Input input, read_input(options, *file));
    engine_options.slot_count = 1;
    if (options.wants_perplexity) {
        engine_options.context_length = options.window_length;
    } else {
        if (input.first != model::token_none)
            input.tokens.insert(input.tokens.begin(), input.first);
        engine_options.context_length = static_cast<std::uint32_t>(input.tokens.size());
    }
    EXO_TRY_ASSIGN(const auto opened, engine_options.open
                                          ? engine_options.open(*file, engine_options)
                                          : engine::open_shard(*file, engine_options));
    if (options.wants_perplexity) return print_perplexity(options, input, *opened.shard);
    return engine::evaluate(*opened.shard, input.tokens, options.engine.options.chunk_length,
                            [&](std::uint32_t position, std::span<const float> logits) {
                                std::ignore = print(line_of(position, logits, options.top));
                            });
}

ExitCode logits(const LogitsOptions& options) {
    const auto done = print_logits(options);
    return done ? ExitCode::success : report(done.error());
}

}  // namespace

void add_logits_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<LogitsOptions>();
    CLI::App& command =
        *program.add_subcommand("logits", "print what a model expects after each token of a text");
    command.group("");  // for tools
    command.add_option("MODEL", options->engine.model, "a name or a GGUF file")->required();
    CLI::Option_group& input = *command.add_option_group("Input");
    input.add_option("--tokens", options->tokens_file, "a file of token ids");
    input.add_option("--text", options->text_file, "a file of text");
    input.require_option(1);
    command.add_flag("--perplexity", options->wants_perplexity,
                     "print how probable the model holds the text instead");
    command
        .add_option("--window", options->window_length,
                    "with --perplexity: tokens that are looked at together")
        ->check(CLI::Range(2U, 1U << 16U))
        ->capture_default_str();
    command.add_option("--top", options->top, "tokens to print for each position")
        ->check(CLI::Range(1U, 1000U));
    options->engine.options.chunk_length = 1;  // rounds as decoding does
    add_engine_flags(command, options->engine);
    choose_on_parse(command, chosen, options, logits);
}

}  // namespace exomesh::main
