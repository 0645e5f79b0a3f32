// How many prompt tokens a step of a pipeline computes. Pure.
//
// A step of c tokens takes each stage about a + b c: a for reading weights and telling others, b
// for a token. N tokens in chunks of c through S stages take N/c + S - 1 such times, since the
// stages have to fill: (N/c + S - 1) (a + b c) is least at c = sqrt(N a / (b (S - 1))). Large
// chunks leave stages idle, small ones read weights too often. A prompt that is shorter than c is
// one chunk.
//
// Chunks of another length round otherwise, so that an answer may differ. Where a / b lies is
// therefore settled in steps of four, from a guess that fits most devices, and moves only where
// many steps in a row say that it is three times off: the same prompt alone gets the same chunks,
// today and after the next start.
#pragma once

#include <cstdint>

namespace exomesh::engine {

inline constexpr std::uint32_t chunk_length_min = 32;
inline constexpr double overhead_tokens_default = 24;

class ChunkChooser {
  public:
    // A step of this many prompt tokens kept the slowest stage so long.
    void observe(std::uint32_t token_count, std::uint64_t duration_us);

    // For `token_count` prompt tokens to come (at least 1): chunk_length_min times a power of two,
    // or chunk_length_max, which is not exceeded. One stage gets chunk_length_max.
    [[nodiscard]] std::uint32_t choose(std::uint64_t token_count, std::uint32_t stage_count,
                                       std::uint32_t chunk_length_max) const;

    // a / b, how many tokens' time a step costs beside its tokens: as seen, and as settled.
    [[nodiscard]] double overhead_tokens() const;
    [[nodiscard]] double settled_overhead_tokens() const { return settled_overhead_tokens_; }

  private:
    // Sums over what was observed, the past weighing less and less: least squares of relative
    // errors.
    double weight_ = 0, length_ = 0, duration_ = 0, length_length_ = 0, length_duration_ = 0;
    double settled_overhead_tokens_ = overhead_tokens_default;
    std::uint32_t off_count_ = 0;
};

}  // namespace exomesh::engine
