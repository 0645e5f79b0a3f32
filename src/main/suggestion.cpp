#include "main/suggestion.h"

#include <algorithm>

namespace exomesh::main {

std::size_t edit_distance(std::string_view left, std::string_view right) {
    // Row by row through the table of prefix distances; two rows back is enough for swaps.
    std::vector<std::size_t> before_previous;
    std::vector<std::size_t> previous(right.size() + 1);
    for (std::size_t j = 0; j <= right.size(); ++j) previous[j] = j;
    for (std::size_t i = 1; i <= left.size(); ++i) {
        std::vector<std::size_t> current(right.size() + 1);
        current[0] = i;
        for (std::size_t j = 1; j <= right.size(); ++j) {
            const std::size_t replaced = previous[j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
            current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
            const bool swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if (swapped) current[j] = std::min(current[j], before_previous[j - 2] + 1);
        }
        before_previous = std::move(previous);
        previous = std::move(current);
    }
    return previous[right.size()];
}

std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string& candidate : known) {
        const bool begins_so = word.size() >= 3 && candidate.starts_with(word);
        const std::size_t distance = begins_so ? 1 : edit_distance(word, candidate);
        if (distance < best_distance) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best.empty() ? "" : " Did you mean '" + best + "'?";
}

}  // namespace exomesh::main
