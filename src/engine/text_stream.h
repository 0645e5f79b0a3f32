// Turns the bytes of generated tokens into text that may be shown at once, and finds stop strings.
//
// What comes out is always whole UTF-8; bytes that are none become U+FFFD, one per maximal subpart
// (Unicode 16, section 3.9), as Python's errors="replace" does. Nothing that may still become a
// stop string is let out. The result does not depend on how the bytes were cut into pushes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/generation.h"

namespace exomesh::engine {

struct TextChunk {
    std::string text;
    // The stop string that was found; `text` is then the last text before it.
    std::optional<std::string> stop_match;
};

// Threads: one at a time.
class TextStream {
  public:
    // invalid_argument: more than stop_string_count_max strings, an empty one, or one longer than
    // stop_string_bytes_max.
    [[nodiscard]] static Result<TextStream> create(const std::vector<std::string>& stop_strings);

    // The stop string that is complete first wins; of several that end at the same byte, the
    // longest. After a match, and after finish(), bytes are ignored.
    [[nodiscard]] TextChunk push(std::string_view bytes);

    // What was held back, when no more bytes come.
    [[nodiscard]] std::string finish();

  private:
    // One stop string and how many of its bytes the stream ends with (Knuth, Morris, Pratt).
    struct Stop {
        std::string text;
        std::vector<std::uint16_t>
            border;  // of each prefix: the longest proper prefix that is a suffix
        std::size_t matched_count = 0;

        explicit Stop(std::string stop_text);
        [[nodiscard]] bool advance(char byte);  // true: the string is complete
    };

    explicit TextStream(const std::vector<std::string>& stop_strings);
    [[nodiscard]] std::string release(std::size_t byte_count);

    std::vector<Stop> stops_;
    std::string held_;  // bytes not let out yet
    bool ended_ = false;
};

}  // namespace exomesh::engine
