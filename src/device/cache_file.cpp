#include "device/cache_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>

namespace exomesh::device {

namespace fs = std::filesystem;

std::string cache_folder(std::string_view name) {
    const auto set = [](const char* value) { return value != nullptr && *value != '\0'; };
    if (const char* cache = std::getenv("XDG_CACHE_HOME"); set(cache)) {
        return (fs::path(cache) / "exomesh" / name).string();
    }
    if (const char* home = std::getenv("HOME"); set(home)) {
        return (fs::path(home) / ".cache" / "exomesh" / name).string();
    }
    return {};
}

std::uint64_t text_hash(std::string_view text) {
    std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a
    for (const char letter : text) {
        hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001B3U;
    }
    return hash;
}

std::string cache_path(const std::string& folder, std::string_view key) {
    if (folder.empty()) return {};
    std::ostringstream name;
    name << std::hex << std::setw(16) << std::setfill('0') << text_hash(key) << ".json";
    return (fs::path(folder) / name.str()).string();
}

std::optional<CachedText> read_cache(const std::string& path) {
    struct stat information{};
    if (path.empty() || ::stat(path.c_str(), &information) != 0) return std::nullopt;
    if (!S_ISREG(information.st_mode)) return std::nullopt;
    if (static_cast<std::uint64_t>(information.st_size) > cache_file_bytes_max) return std::nullopt;
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) return std::nullopt;
    return CachedText{std::move(text).str(), information.st_mtime};
}

bool write_cache(const std::string& path, std::string_view text) {
    if (path.empty()) return false;
    std::error_code error;
    fs::create_directories(fs::path(path).parent_path(), error);
    const auto partial = path + "." + std::to_string(::getpid());
    {
        std::ofstream file(partial, std::ios::binary | std::ios::trunc);
        file.write(text.data(), static_cast<std::streamsize>(text.size()));
        file.close();
        if (!file) {
            fs::remove(partial, error);
            return false;
        }
    }
    fs::rename(partial, path, error);
    return !error;
}

}  // namespace exomesh::device
