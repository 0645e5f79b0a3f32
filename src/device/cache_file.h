// Small result files in the user's cache folder, one per key. Losing one costs a re-run, nothing
// else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace exomesh::device {

inline constexpr std::size_t cache_file_bytes_max = 4 << 20;

// $XDG_CACHE_HOME/exomesh/NAME, else ~/.cache/exomesh/NAME; empty where neither is known.
[[nodiscard]] std::string cache_folder(std::string_view name);

// FOLDER/HASH.json with a 64-bit hash of the key: keys hold spaces and a driver's odd characters.
[[nodiscard]] std::string cache_path(const std::string& folder, std::string_view key);

struct CachedText {
    std::string text;
    std::int64_t written_s = 0;  // Unix time
};

[[nodiscard]] std::optional<CachedText> read_cache(const std::string& path);

// Whole or not at all; makes the folder. False where it could not be written.
bool write_cache(const std::string& path, std::string_view text);

[[nodiscard]] std::uint64_t text_hash(std::string_view text);

}  // namespace exomesh::device
