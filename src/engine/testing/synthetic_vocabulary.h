// Vocabularies of any size for synthetic models: every byte, a few special tokens, and words built
// up pair by pair, so that each has the merge (or the score) that makes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/testing/gguf_writer.h"

namespace exomesh::engine::testing {

// Writes the tokenizer.* keys for a family: byte-level BPE, or SentencePiece for gemma3 and phi3.
void add_synthetic_vocabulary(model::testing::GgufWriter& writer, std::string_view family,
                              std::uint32_t token_count, std::uint64_t seed);

}  // namespace exomesh::engine::testing
