// Prompts for models that were not trained.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/tokenizer.h"

namespace exomesh::engine::testing {

// The same for the same seed; ids below 300, which every synthetic vocabulary has.
inline std::vector<model::TokenId> random_tokens(std::uint32_t seed, std::size_t count) {
    std::vector<model::TokenId> tokens;
    for (std::size_t i = 0; i < count; ++i) {
        seed = seed * 1664525U + 1013904223U;
        tokens.push_back(static_cast<model::TokenId>((seed >> 16) % 300));
    }
    return tokens;
}

}  // namespace exomesh::engine::testing
