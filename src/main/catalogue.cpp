#include "main/catalogue.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "main/suggestion.h"
#include "platform/folder.h"

namespace exomesh::main {

namespace {

namespace fs = std::filesystem;

struct KnownModel {
    const char* name;
    const char* file;
    std::uint64_t size_bytes;
    const char* description;
};

// The files tools/dev/fetch_model.py fetches; a test compares the two lists.
constexpr KnownModel known_models[] = {
    {"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", 98'362'432,
     "SmolLM2 135M Instruct, Q4_1: answers fast on anything"},
    {"gemma3", "gemma-3-270m.Q4_K_M.gguf", 253'113'024,
     "Gemma 3 270M, Q4_K_M: a base model, completes text"},
};

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::optional<std::string> find_file(const std::vector<std::string>& folders,
                                     const std::string& file) {
    for (const std::string& folder : folders) {
        std::error_code ignored;
        const fs::path path = fs::path(folder) / file;
        if (fs::is_regular_file(path, ignored)) return path.string();
    }
    return std::nullopt;
}

bool is_known_file(const std::string& file) {
    return std::ranges::any_of(known_models, [&](const KnownModel& m) { return m.file == file; });
}

void add_other_files(const std::string& folder, std::vector<CatalogueEntry>& entries) {
    for (const fs::path& path : platform::paths_in(folder)) {
        std::error_code ignored;
        if (path.extension() != ".gguf" || !fs::is_regular_file(path, ignored)) continue;
        const std::string name = path.stem().string();
        const bool seen =
            is_known_file(path.filename().string()) ||
            std::ranges::any_of(entries, [&](const CatalogueEntry& e) { return e.name == name; });
        if (seen) continue;
        CatalogueEntry entry;
        entry.name = name;
        entry.file = path.filename().string();
        const std::uintmax_t size_bytes = fs::file_size(path, ignored);
        entry.size_bytes = ignored ? 0 : size_bytes;
        entry.path = path.string();
        entries.push_back(std::move(entry));
    }
}

bool looks_like_path(std::string_view model) {
    return model.contains('/') || model.ends_with(".gguf") || model == "." || model == "..";
}

}  // namespace

std::vector<std::string> model_folders() {
    std::vector<std::string> folders;
    const std::string home = environment("HOME");
    const auto add = [&](const char* variable, const std::string& fallback,
                         const std::string& below) {
        const std::string set = environment(variable);
        const std::string base = !set.empty() ? set : home.empty() ? "" : home + fallback;
        if (!base.empty()) folders.push_back(base + below);
    };
    if (const std::string own = environment("EXOMESH_MODELS"); !own.empty()) folders.push_back(own);
    add("XDG_DATA_HOME", "/.local/share", "/exomesh/models");
    if (const std::string cache = environment("EXOMESH_CACHE"); !cache.empty()) {
        folders.push_back(cache + "/models");
    } else {
        add("XDG_CACHE_HOME", "/.cache", "/exomesh/models");
    }
    return folders;
}

std::vector<CatalogueEntry> catalogue(const std::vector<std::string>& folders) {
    std::vector<CatalogueEntry> entries;
    for (const KnownModel& model : known_models) {
        CatalogueEntry entry;
        entry.name = model.name;
        entry.file = model.file;
        entry.description = model.description;
        entry.how_to_get = "./dev model " + entry.name;
        entry.size_bytes = model.size_bytes;
        entry.path = find_file(folders, entry.file);
        entries.push_back(std::move(entry));
    }
    const auto others = static_cast<std::ptrdiff_t>(entries.size());
    for (const std::string& folder : folders) add_other_files(folder, entries);
    std::ranges::sort(entries.begin() + others, entries.end(), {}, &CatalogueEntry::name);
    return entries;
}

Result<std::string> find_model(std::string_view model, const std::vector<std::string>& folders) {
    std::string text(model);
    std::error_code error;
    const auto type = fs::status(text, error).type();
    if (type == fs::file_type::directory) {
        return fail(ErrorCode::invalid_argument, "'" + text + "' is a folder.",
                    "Give the path of a GGUF file.");
    }
    if (type != fs::file_type::not_found && type != fs::file_type::none) return text;
    if (type == fs::file_type::none && looks_like_path(model)) {
        return fail(ErrorCode::io, "cannot look at '" + text + "': " + error.message() + ".");
    }
    if (looks_like_path(model)) {
        return fail(ErrorCode::not_found, "there is no file '" + text + "'.",
                    "`exomesh models` lists the models found on this machine.");
    }
    std::vector<std::string> names;
    for (const CatalogueEntry& entry : catalogue(folders)) {
        names.push_back(entry.name);
        if (entry.name != model) continue;
        if (entry.path) return *entry.path;
        return fail(
            ErrorCode::not_found, "the model '" + text + "' is not on this machine.",
            "Put " + entry.file + " into " +
                (folders.empty() ? "a folder and set EXOMESH_MODELS to it" : folders.front()) +
                "; in a source tree `" + entry.how_to_get + "` fetches it.");
    }
    return fail(
        ErrorCode::not_found, "there is no model '" + text + "'.",
        "Give the path of a GGUF file or a name of `exomesh models`." + suggestion(model, names));
}

}  // namespace exomesh::main
