// How many prompt tokens a step of a pipeline computes. Pure.
//
// A step of c tokens takes each stage about a + b c: a for reading weights and telling others, b
// for a token. N tokens in chunks of c through S stages take N/c + S - 1 such times, since the
// stages have to fill: (N/c + S - 1) (a + b c) is least at c = sqrt(N a / (b (S - 1))). Large
// chunks leave stages idle, small ones read weights too often. A prompt that is shorter than c is
// one chunk.
#pragma once

#include <cstdint>

namespace exomesh::engine {

inline constexpr std::uint32_t chunk_length_min = 32;

class ChunkChooser {
  public:
    // A step of this many prompt tokens kept the slowest stage so long.
    void observe(std::uint32_t token_count, std::uint64_t duration_us);

    // For `token_count` prompt tokens to come (at least 1): chunk_length_min times a power of two,
    // or chunk_length_max, which is not exceeded. One stage gets chunk_length_max. What was chosen
    // last stays where another would save little: graphs are made for it.
    [[nodiscard]] std::uint32_t choose(std::uint64_t token_count, std::uint32_t stage_count,
                                       std::uint32_t chunk_length_max);

    // a / b: how many tokens' time a step costs beside its tokens.
    [[nodiscard]] double overhead_tokens() const;

  private:
    // Sums over what was observed, the past weighing less and less: least squares of relative
    // errors.
    double weight_ = 0, length_ = 0, duration_ = 0, length_length_ = 0, length_duration_ = 0;
    std::uint32_t chosen_ = 0;
};

}  // namespace exomesh::engine
