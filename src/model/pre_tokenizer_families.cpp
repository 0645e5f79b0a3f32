// The word rules of each model family, as its authors published them in tokenizer.json.
#include <array>

#include "model/pre_tokenizer.h"

namespace exomesh::model {

namespace {

using Names = std::string_view;
using Patterns = std::string_view;

// Contractions of GPT-2 (lower case only) and of later models (any case).
#define EXO_CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define EXO_CONTRACTION_ANY_CASE "(?i:" EXO_CONTRACTION ")"
// Line breaks with the space before them, then the last space of a run left to the next word.
#define EXO_SPACE R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
// A word may take one character before it along that is no letter, digit or line break.
#define EXO_LETTERS R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define EXO_SYMBOLS R"( ?[^\s\p{L}\p{N}]+[\r\n]*)"
// Words that break where case changes: "HelloWorld" → "Hello", "World".
#define EXO_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define EXO_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define EXO_CASED_1 R"([^\r\n\p{L}\p{N}]?)" EXO_UPPER "*" EXO_LOWER "+"
#define EXO_CASED_2 R"([^\r\n\p{L}\p{N}]?)" EXO_UPPER "+" EXO_LOWER "*"
#define EXO_SYMBOLS_SLASH R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)"
#define EXO_GPT2 EXO_CONTRACTION R"(| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"

constexpr auto gpt2_names = std::to_array<Names>({
    "default",
    "gpt-2",
    "phi-2",
    "mpt",
    "olmo",
    "jais",
    "trillion",
    "granite-docling",
    "exaone4",
    "jina-es",
    "jina-de",
    "jina-v2-es",
    "jina-v2-de",
    "gigachat",
    "a.x-4.0",
    "mellum",
    "modern-bert",
});
constexpr auto gpt2 = std::to_array<Patterns>({EXO_GPT2});

constexpr auto single_digit_names = std::to_array<Names>({
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "codeshell",
    "exaone",
    "minerva-7b",
});
constexpr auto single_digit = std::to_array<Patterns>({R"(\p{N})", EXO_GPT2});

constexpr auto llama3_names = std::to_array<Names>({
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
});
constexpr auto dbrx_names = std::to_array<Names>({"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"});
constexpr auto llama3 = std::to_array<Patterns>({
    EXO_CONTRACTION_ANY_CASE "|" EXO_LETTERS R"(|\p{N}{1,3}|)" EXO_SYMBOLS "|" EXO_SPACE,
});

constexpr auto qwen2_names = std::to_array<Names>({
    "qwen2",
    "deepseek-r1-qwen",
    "stablelm2",
    "hunyuan",
    "megrez",
    "kormo",
    "grok-2",
    "solar-open",
});
constexpr auto qwen2 = std::to_array<Patterns>({
    EXO_CONTRACTION_ANY_CASE "|" EXO_LETTERS R"(|\p{N}|)" EXO_SYMBOLS "|" EXO_SPACE,
});

constexpr auto qwen35_names = std::to_array<Names>({"qwen35"});
constexpr auto qwen35 = std::to_array<Patterns>({
    EXO_CONTRACTION_ANY_CASE R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})"
                             R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" EXO_SPACE,
});

constexpr auto deepseek_v3_names =
    std::to_array<Names>({"deepseek-v3", "hunyuan-dense", "joyai-llm"});
constexpr auto deepseek_v3 = std::to_array<Patterns>({
    R"(\p{N}{1,3})",
    // Han from U+4E00 to U+9FA5, Hiragana and Katakana.
    R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)",
    R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|)" EXO_SPACE,
});

constexpr auto tekken_names = std::to_array<Names>({"tekken"});
constexpr auto tekken = std::to_array<Patterns>({
    EXO_CASED_1 "|" EXO_CASED_2 R"(|\p{N}|)" EXO_SYMBOLS_SLASH "|" EXO_SPACE,
});

constexpr auto gpt4o_names = std::to_array<Names>({"gpt-4o", "llama4", "minimax-m2"});
constexpr auto gpt4o = std::to_array<Patterns>({
    EXO_CASED_1 EXO_CONTRACTION_ANY_CASE "?|" EXO_CASED_2 EXO_CONTRACTION_ANY_CASE
                                         R"(?|\p{N}{1,3}|)" EXO_SYMBOLS_SLASH "|" EXO_SPACE,
});

#undef EXO_CONTRACTION
#undef EXO_CONTRACTION_ANY_CASE
#undef EXO_SPACE
#undef EXO_LETTERS
#undef EXO_SYMBOLS
#undef EXO_UPPER
#undef EXO_LOWER
#undef EXO_CASED_1
#undef EXO_CASED_2
#undef EXO_SYMBOLS_SLASH
#undef EXO_GPT2

constexpr auto families = std::to_array<PreTokenizerFamily>({
    {gpt2_names, gpt2},
    {single_digit_names, single_digit},
    {llama3_names, llama3, WholeWords::looked_up, true},
    {dbrx_names, llama3},
    {qwen2_names, qwen2},
    {qwen35_names, qwen35},
    {deepseek_v3_names, deepseek_v3},
    {tekken_names, tekken, WholeWords::looked_up, true},
    {gpt4o_names, gpt4o},
});

}  // namespace

std::span<const PreTokenizerFamily> pre_tokenizer_families() {
    return families;
}

}  // namespace exomesh::model
