#include "runner/model_search.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "runner/model_identity.h"

namespace exomesh::runner {

namespace {

// `places` are this device's own; of what the head says only a name is appended to them.
std::vector<std::string> candidates(const LoadRequest& request,
                                    const std::vector<std::string>& places) {
    const std::filesystem::path name = std::filesystem::path(request.model_path).filename();
    std::vector<std::string> paths;
    for (const std::string& place : places) {
        std::error_code ignored;
        const bool is_folder = std::filesystem::is_directory(place, ignored);
        paths.push_back(is_folder ? (std::filesystem::path(place) / name).string() : place);
    }
    paths.push_back(request.model_path);
    return paths;
}

}  // namespace

Result<std::unique_ptr<const engine::ModelFile>> find_model(
    const LoadRequest& request, const std::vector<std::string>& places) {
    std::optional<Error> first_error;
    std::string looked_at;
    for (const std::string& path : candidates(request, places)) {
        auto model = engine::ModelFile::open(path);
        Result<void> checked =
            model ? check_model(**model, path, request) : std::unexpected(model.error());
        if (checked) return model;
        looked_at += (looked_at.empty() ? "" : ", ") + path;
        const bool is_missing = !model && model.error().code == ErrorCode::not_found;
        if (!is_missing && !first_error) first_error = std::move(checked).error();
    }
    if (first_error) return std::unexpected(*first_error);
    return fail(ErrorCode::not_found, "it has no such model (looked at " + looked_at + ").",
                "Copy the head's file there, or say where it lies: `exomesh worker --model PATH`.");
}

}  // namespace exomesh::runner
