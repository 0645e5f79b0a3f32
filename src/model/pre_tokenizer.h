// Cuts text into the words that byte-pair merges stay inside of. Each family of models has its own
// rules, named by tokenizer.ggml.pre and written as regular expressions. Internal to the tokenizer.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/byte_pair_encoder.h"

namespace exomesh::model {

struct PreTokenizerFamily {
    // As tokenizer.ggml.pre spells them.
    std::span<const std::string_view> names;
    // Applied one after the other, each to the pieces the one before left: its matches become
    // pieces and so does what lies between them. Here "\s" means Unicode's White_Space property.
    std::span<const std::string_view> patterns;
    WholeWords whole_words = WholeWords::merged;
    // Whether the beginning-of-sequence token goes in front where the file does not say.
    bool adds_beginning_of_sequence = false;
};

[[nodiscard]] std::span<const PreTokenizerFamily> pre_tokenizer_families();

// The family of that name; unknown → unsupported.
[[nodiscard]] Result<const PreTokenizerFamily*> find_pre_tokenizer_family(std::string_view name);

// Thread-safe after creation.
class PreTokenizer {
  public:
    [[nodiscard]] static Result<PreTokenizer> create(const PreTokenizerFamily& family);
    PreTokenizer(PreTokenizer&&) noexcept;
    PreTokenizer& operator=(PreTokenizer&&) noexcept;
    ~PreTokenizer();

    // Cuts `text` into words: `ends` receives where each ends, the first starts at 0. Every byte is
    // in one word and no word is empty. The rules see valid UTF-8 only: a run of bytes that is none
    // is a word of its own, and splits the text before it from the text behind it.
    void split(std::string_view text, std::vector<std::size_t>& ends) const;

  private:
    struct Pattern;
    explicit PreTokenizer(std::vector<Pattern> patterns);
    void split_valid(std::string_view text, std::size_t begin,
                     std::vector<std::size_t>& ends) const;

    std::vector<Pattern> patterns_;
};

// The pattern as PCRE2 understands it: "\s" and "\S" spelled out, since PCRE2's own "\s" counts
// U+180E as a space, which Unicode and the other tokenizers do not.
[[nodiscard]] std::string spell_out_space(std::string_view pattern);

}  // namespace exomesh::model
