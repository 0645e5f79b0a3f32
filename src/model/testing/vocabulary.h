// Small vocabularies for tests of the tokenizers: trained on a few sentences, so that merges depend
// on each other as real ones do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"
#include "model/testing/gguf_writer.h"

namespace exomesh::model::testing {

struct Vocabulary {
    std::vector<std::string> tokens;  // as the file spells them
    std::vector<std::int32_t> types;  // tokenizer.ggml.token_type
    std::vector<std::string> merges;  // byte-level ones only
    std::vector<float> scores;        // SentencePiece-style ones only

    std::int32_t add(std::string_view token, std::int32_t type, float score = 0.0F);
    // The keys of this vocabulary; add more, then gguf_of(). `pre` is for byte-level ones.
    [[nodiscard]] GgufWriter writer(std::string_view pre) const;
};

inline constexpr std::int32_t type_normal = 1;
inline constexpr std::int32_t type_unknown = 2;
inline constexpr std::int32_t type_control = 3;
inline constexpr std::int32_t type_user_defined = 4;
inline constexpr std::int32_t type_byte = 6;

// English, other scripts, code, digits and runs of white space.
[[nodiscard]] std::string_view sample_text();

// All 256 bytes and the merges of the pairs most frequent in the sample's words; then the control
// tokens "<|start|>", "<|im_end|>" and "<|im_end|>2", and the user-defined "<think>".
[[nodiscard]] Vocabulary byte_level_vocabulary(std::size_t merge_count);

// "<unk>" 0, "<s>" 1, "</s>" 2, the 256 byte tokens, the sample's pieces best first, its
// characters, and the user-defined tokens "\n\n" and "[image]".
[[nodiscard]] Vocabulary sentence_piece_vocabulary(std::size_t piece_count);

[[nodiscard]] Gguf gguf_of(const GgufWriter& writer);

}  // namespace exomesh::model::testing
