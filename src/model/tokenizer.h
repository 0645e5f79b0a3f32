// Text to token ids and back, from the vocabulary stored in a GGUF file.
//
// Two algorithms: byte-level BPE (tokenizer.ggml.model = "gpt2", with the pre-tokenizer family
// named by tokenizer.ggml.pre) and SentencePiece-style BPE ("llama"). Equal to Hugging Face
// `tokenizers` on the same vocabulary (tests/tokenizers/compare.py), but that text is taken as it
// is: where a tokenizer.json composes characters first (Qwen's NFC), decomposed ones stay so here.
//
// Any bytes are accepted. Byte-level BPE gives back what it was given, also bytes that are no
// UTF-8. Thread-safe after creation: every method is const.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"

namespace exomesh::model {

using TokenId = std::int32_t;
inline constexpr TokenId token_none = -1;
inline constexpr std::size_t vocabulary_size_max = 1 << 20;

// Which tokens are found in the text itself by their names; each finds more than the one before.
// Text from people is as_message, what a chat template wrote is parsed.
enum class SpecialTokens {
    as_message,  // user-defined ones, but none named as the marks of turns are: "<|user|>"
    as_text,     // every user-defined one, as Hugging Face's encode_special_tokens has it
    parsed,      // control tokens too: "<|im_end|>"
};
// Whether the beginning-of-sequence token goes in front, where the model wants one at all.
enum class SequenceStart { none, as_model_wants };

// A part of a text.
struct TextStretch {
    std::string_view text;
    SpecialTokens special;
};

class Tokenizer {
  public:
    // corrupt_data where the file has no tokenizer or a damaged one, unsupported where it has one
    // of another kind.
    [[nodiscard]] static Result<Tokenizer> create(const Gguf& gguf);
    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    [[nodiscard]] std::vector<TokenId> encode(std::string_view text, SpecialTokens special,
                                              SequenceStart start) const;

    // One text, in whose stretches different tokens are found.
    [[nodiscard]] std::vector<TokenId> encode(std::span<const TextStretch> stretches,
                                              SequenceStart start) const;

    // The bytes of one token: maybe a part of a UTF-8 sequence. Empty for control tokens and ids
    // out of range. Leading spaces are kept.
    [[nodiscard]] std::string_view piece(TokenId token) const;
    // As `piece`, but a control token gives its name ("<|im_end|>").
    [[nodiscard]] std::string_view piece_with_specials(TokenId token) const;
    // The text of a whole sequence, as Hugging Face's decode with skip_special_tokens does it,
    // without clean-up (a SentencePiece vocabulary that adds a leading space loses it again).
    [[nodiscard]] std::string decode(const std::vector<TokenId>& tokens) const;

    [[nodiscard]] std::size_t vocabulary_size() const;
    // token_none where the model has none.
    [[nodiscard]] TokenId beginning_of_sequence() const;
    [[nodiscard]] TokenId end_of_sequence() const;
    [[nodiscard]] TokenId unknown() const;
    [[nodiscard]] bool adds_beginning_of_sequence() const;
    // True for every token that ends an answer: end of sequence, end of turn, end of message, and
    // the known names of such tokens ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", ...).
    [[nodiscard]] bool ends_generation(TokenId token) const;
    [[nodiscard]] bool is_control(TokenId token) const;
    // True for what text encoded as_message never becomes: control tokens and user-defined ones
    // named as the marks of turns are.
    [[nodiscard]] bool is_kept_from_messages(TokenId token) const;

  private:
    struct Vocabulary;
    explicit Tokenizer(std::unique_ptr<const Vocabulary> vocabulary);
    std::unique_ptr<const Vocabulary> vocabulary_;
};

}  // namespace exomesh::model
