#include "device/backend_loader.h"

#include <dlfcn.h>
#include <ggml.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "platform/clock.h"
#include "platform/folder.h"

namespace exomesh::device {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view cpu_prefix = "libggml-cpu";
constexpr std::array<std::string_view, 4> gpu_backend_names = {"cuda", "hip", "metal", "vulkan"};

std::uint64_t timed_us(const std::function<void()>& body) {
    const auto start_us = platform::monotonic_us();
    body();
    return platform::monotonic_us() - start_us;
}

std::string last_dlopen_error() {
    const char* text = dlerror();
    return text == nullptr ? "unknown reason" : text;
}

// The folder of the library that holds ggml's registry.
std::optional<fs::path> ggml_library_folder() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&ggml_backend_load), &info) == 0) return std::nullopt;
    if (info.dli_fname == nullptr) return std::nullopt;
    std::error_code error;
    auto path = fs::canonical(info.dli_fname, error);
    return error ? std::nullopt : std::optional(path.parent_path());
}

// Library files of one folder whose name begins with `prefix`, sorted.
std::vector<fs::path> libraries_in(const std::string& folder, std::string_view prefix) {
    std::vector<fs::path> found;
    for (const auto& path : platform::paths_in(folder)) {
        const auto name = path.filename().string();
        if (name.starts_with(prefix) && name.ends_with(".so")) found.push_back(path);
    }
    return found;
}

// How well a CPU variant suits this processor; 0: it would hit an illegal instruction. A library
// without the function is a single build for everyone and scores 1.
Result<int> variant_score(const fs::path& file) {
    void* library = dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) return fail(ErrorCode::unavailable, last_dlopen_error());
    using ScoreFunction = int (*)();
    const auto score = reinterpret_cast<ScoreFunction>(dlsym(library, "ggml_backend_score"));
    const int value = score == nullptr ? 1 : score();
    dlclose(library);
    return value;
}

LoadedBackend load_library(const fs::path& file, std::vector<LoadStep>& steps) {
    LoadedBackend backend{nullptr, file.string()};
    LoadStep step{"load " + file.filename().string(), 0, {}};
    step.duration_us = timed_us([&] {
        // Opened first by hand, because ggml keeps the linker's reason to itself.
        void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            step.failure = last_dlopen_error();
            return;
        }
        backend.handle = ggml_backend_load(file.c_str());
        if (backend.handle == nullptr) step.failure = no_backend_offered;
        dlclose(library);
    });
    steps.push_back(std::move(step));
    return backend;
}

}  // namespace

std::vector<std::string> backend_folders() {
    if (const char* wanted = std::getenv("EXOMESH_BACKENDS");
        wanted != nullptr && *wanted != '\0') {
        return {wanted};
    }
    std::vector<std::string> folders;
    std::error_code error;
    if (const auto program = fs::read_symlink("/proc/self/exe", error); !error) {
        folders.push_back((program.parent_path().parent_path() / "lib" / "ggml").string());
    }
    if (const auto library_folder = ggml_library_folder()) {
        folders.push_back((*library_folder / "ggml").string());
        // Distributions put them one deeper, in a folder named after the backend interface's
        // version.
        for (const auto& path : platform::paths_in((*library_folder / "ggml").string())) {
            if (fs::is_directory(path, error)) folders.push_back(path.string());
        }
        folders.push_back(library_folder->string());
    }
    return folders;
}

Result<LoadedBackend> load_cpu_backend(std::vector<LoadStep>& steps) {
    if (auto* linked = ggml_backend_reg_by_name("CPU")) return LoadedBackend{linked, {}};
    std::string searched;
    for (const auto& folder : backend_folders()) {
        const auto candidates = libraries_in(folder, cpu_prefix);
        searched += (searched.empty() ? "" : ", ") + folder;
        fs::path best;
        int best_score = 0;
        LoadStep step{"score " + std::to_string(candidates.size()) + " CPU variants", 0, {}};
        step.duration_us = timed_us([&] {
            for (const auto& file : candidates) {
                const auto score = variant_score(file);
                if (!score) step.failure = score.error().message;
                if (score && *score > best_score) {
                    best_score = *score;
                    best = file;
                }
            }
        });
        if (candidates.empty()) continue;
        steps.push_back(std::move(step));
        if (best.empty()) continue;
        auto backend = load_library(best, steps);
        if (backend.handle != nullptr) return backend;
    }
    return fail(ErrorCode::unavailable,
                "no CPU backend of ggml can be loaded; searched " + searched + ".",
                "Set EXOMESH_BACKENDS to the folder with libggml-cpu*.so.");
}

namespace {

// The names of the NVIDIA GPUs, as their kernel driver lists them.
std::string nvidia_names() {
    std::string names;
    for (const auto& path : platform::paths_in("/proc/driver/nvidia/gpus")) {
        std::ifstream file(path / "information");
        std::string line;
        while (std::getline(file, line)) {
            if (line.starts_with("Model:")) names += line + "\n";
        }
    }
    return names;
}

// On Hopper GPUs integer dot products decode every weight type but Q6_K faster than what ggml's
// Vulkan backend chooses by itself (on an H200: Q4_0 1.13 times, Q6_K 0.87 times). The backend
// reads this when it is loaded; whoever sets one of the two variables has the last word.
void choose_vulkan_matrix_path() {
    if (std::getenv("GGML_VK_FORCE_MMVQ") != nullptr) return;
    if (std::getenv("GGML_VK_DISABLE_MMVQ") != nullptr) return;
    const std::string names = nvidia_names();
    for (const char* model : {"H100", "H200", "H800", "H20", "GH200"}) {
        if (names.find(model) == std::string::npos) continue;
        setenv("GGML_VK_FORCE_MMVQ", "1", 0);
        return;
    }
}

}  // namespace

std::vector<LoadedBackend> load_gpu_backends(std::vector<LoadStep>& steps) {
    choose_vulkan_matrix_path();
    std::vector<LoadedBackend> loaded;
    for (const auto name : gpu_backend_names) {
        for (const auto& folder : backend_folders()) {
            const auto files = libraries_in(folder, "libggml-" + std::string(name));
            if (files.empty()) continue;
            auto backend = load_library(files.front(), steps);
            if (backend.handle != nullptr) loaded.push_back(std::move(backend));
            break;
        }
    }
    return loaded;
}

bool gpu_hardware_present() {
    std::error_code error;
    for (const char* node : {"/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg"}) {
        if (fs::exists(node, error)) return true;
    }
    return std::ranges::any_of(platform::paths_in("/dev/dri"), [](const fs::path& path) {
        return path.filename().string().starts_with("renderD");
    });
}

}  // namespace exomesh::device
