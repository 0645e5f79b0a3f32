#include "main/models_command.h"

#include <format>
#include <memory>
#include <string>

#include "main/catalogue.h"
#include "main/model_facts.h"
#include "main/terminal.h"
#include "model/chat_template.h"

namespace exomesh::main {

namespace {

struct ModelsOptions {
    std::string model;
    bool json = false;
};

std::string dump(const model::Json& json) {
    return json.dump(2, ' ', false, model::Json::error_handler_t::replace) + "\n";
}

std::string facts_text(const ModelFacts& facts) {
    const model::Architecture& a = facts.architecture;
    std::string text;
    const auto line = [&](const char* name, const std::string& value) {
        text += std::format("{:<16}{}\n", name, value);
    };
    line("file", facts.path);
    line("name", a.name.empty() ? "(none)" : a.name);
    line("family", a.family);
    line("parameters", count_text(facts.parameter_count));
    line("quantization", facts.quantization);
    line("size", bytes_text(facts.file_bytes));
    line("layers", std::to_string(a.layer_count));
    line("embedding", std::to_string(a.embedding_length));
    line("heads", std::format("{} ({} for keys and values)", a.head_count, a.key_value_head_count));
    line("vocabulary", std::to_string(a.vocabulary_size));
    line("context", std::format("{} tokens", a.context_length));
    if (a.sliding_window > 0) line("sliding window", std::format("{} tokens", a.sliding_window));
    if (a.experts) {
        line("experts",
             std::format("{} ({} used per token)", a.experts->count, a.experts->used_count));
    }
    line("chat template", facts.has_chat_template ? "yes" : "no: it completes text");
    return text;
}

model::Json facts_json(const ModelFacts& facts) {
    const model::Architecture& a = facts.architecture;
    return {{"file", facts.path},
            {"name", a.name},
            {"family", a.family},
            {"parameter_count", facts.parameter_count},
            {"quantization", facts.quantization},
            {"file_bytes", facts.file_bytes},
            {"tensor_bytes", facts.tensor_bytes},
            {"tensor_count", facts.tensor_count},
            {"layer_count", a.layer_count},
            {"embedding_length", a.embedding_length},
            {"head_count", a.head_count},
            {"key_value_head_count", a.key_value_head_count},
            {"vocabulary_size", a.vocabulary_size},
            {"context_length", a.context_length},
            {"sliding_window", a.sliding_window},
            {"expert_count", a.experts ? a.experts->count : 0},
            {"has_chat_template", facts.has_chat_template}};
}

std::string catalogue_text(const std::vector<CatalogueEntry>& entries,
                           const std::vector<std::string>& folders) {
    std::size_t width = 4;
    for (const CatalogueEntry& entry : entries) width = std::max(width, entry.name.size());
    std::string text;
    for (const CatalogueEntry& entry : entries) {
        // A bundle has no ./dev: the file may come from anywhere.
        const std::string place =
            entry.path ? *entry.path
                       : "missing: put " + entry.file +
                             " into a folder below (a source tree: " + entry.how_to_get + ")";
        text += std::format("{:<{}}  {:>10}  {}\n", entry.name, width, bytes_text(entry.size_bytes),
                            place);
        if (!entry.description.empty()) {
            text += std::format("{:<{}}  {:>10}  {}\n", "", width, "", entry.description);
        }
    }
    text += "\nAny GGUF file works by its path; files in these folders also by name:\n";
    for (const std::string& folder : folders) text += "  " + folder + "\n";
    return text;
}

model::Json catalogue_json(const std::vector<CatalogueEntry>& entries,
                           const std::vector<std::string>& folders) {
    model::Json models = model::Json::array();
    for (const CatalogueEntry& entry : entries) {
        models.push_back({{"name", entry.name},
                          {"file", entry.file},
                          {"description", entry.description},
                          {"size_bytes", entry.size_bytes},
                          {"present", entry.path.has_value()},
                          {"path", entry.path ? model::Json(*entry.path) : model::Json(nullptr)},
                          {"how_to_get", entry.how_to_get}});
    }
    return {{"models", models}, {"folders", folders}};
}

ExitCode show_models(const ModelsOptions& options) {
    const auto folders = model_folders();
    std::string text;
    if (options.model.empty()) {
        const auto entries = catalogue(folders);
        text = options.json ? dump(catalogue_json(entries, folders))
                            : catalogue_text(entries, folders);
    } else {
        const auto path = find_model(options.model, folders);
        if (!path) return report(path.error());
        const auto facts = read_model_facts(*path);
        if (!facts) return report(facts.error());
        text = options.json ? dump(facts_json(*facts)) : facts_text(*facts);
    }
    return print(text) ? ExitCode::success : ExitCode::failure;
}

}  // namespace

void add_models_command(CLI::App& program, ChosenCommand& chosen) {
    const auto options = std::make_shared<ModelsOptions>();
    CLI::App& command =
        *program.add_subcommand("models", "list the models that can be run, or show one's facts");
    command.add_option("MODEL", options->model, "a name or a GGUF file: print what it is");
    command.add_flag("--json", options->json, "as JSON");
    choose_on_parse(command, chosen, options, show_models);
}

}  // namespace exomesh::main
