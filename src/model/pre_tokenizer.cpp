#include "model/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "base/assert.h"
#include "model/utf8.h"

namespace exomesh::model {

namespace {

struct CodeDeleter {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataDeleter {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using Code = std::unique_ptr<pcre2_code, CodeDeleter>;
using MatchData = std::unique_ptr<pcre2_match_data, MatchDataDeleter>;

constexpr std::string_view space_ranges =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

std::string pcre2_message(int error) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

}  // namespace

std::string spell_out_space(std::string_view pattern) {
    std::string result;
    bool in_class = false;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        const char character = pattern[i];
        if (character == '\\' && i + 1 < pattern.size()) {
            const char escaped = pattern[++i];
            if (escaped == 's') {
                result += in_class ? std::string(space_ranges) : std::format("[{}]", space_ranges);
            } else if (escaped == 'S' && !in_class) {
                result += std::format("[^{}]", space_ranges);
            } else {
                result += {'\\', escaped};
            }
            continue;
        }
        if (character == '[') in_class = true;
        if (character == ']') in_class = false;
        result += character;
    }
    return result;
}

struct PreTokenizer::Pattern {
    Code code;
    bool is_compiled_to_machine_code = false;

    // One past the last byte of the leftmost match in text[from..], its start in `begin`; npos
    // where there is none. Where the engine gives up (a named limit of PCRE2), all that is left is
    // one match: the text still comes out whole, only in a coarser cut.
    std::size_t find(std::string_view text, std::size_t from, pcre2_match_data* data,
                     std::size_t& begin) const {
        const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
        int count = PCRE2_ERROR_JIT_STACKLIMIT;
        if (is_compiled_to_machine_code) {
            count = pcre2_jit_match(code.get(), subject, text.size(), from, 0, data, nullptr);
        }
        if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
            count = pcre2_match(code.get(), subject, text.size(), from,
                                PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, nullptr);
        }
        if (count == PCRE2_ERROR_NOMATCH) return std::string_view::npos;
        if (count < 0) {
            begin = from;
            return text.size();
        }
        const PCRE2_SIZE* const offsets = pcre2_get_ovector_pointer(data);
        begin = offsets[0];
        return offsets[1];
    }
};

PreTokenizer::PreTokenizer(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {}
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;
PreTokenizer::~PreTokenizer() = default;

Result<const PreTokenizerFamily*> find_pre_tokenizer_family(std::string_view name) {
    for (const PreTokenizerFamily& family : pre_tokenizer_families()) {
        if (std::ranges::contains(family.names, name)) return &family;
    }
    return fail(ErrorCode::unsupported,
                std::format("the tokenizer family '{}' (tokenizer.ggml.pre) is not known.", name),
                "A newer exomesh may know it; until then use another model.");
}

Result<PreTokenizer> PreTokenizer::create(const PreTokenizerFamily& family) {
    std::vector<Pattern> patterns;
    for (const std::string_view written : family.patterns) {
        const std::string text = spell_out_space(written);
        int error = 0;
        PCRE2_SIZE error_offset = 0;
        Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                PCRE2_UTF | PCRE2_UCP, &error, &error_offset, nullptr));
        if (!code) {
            return fail(ErrorCode::internal,
                        std::format("the word pattern of '{}' does not compile: {} (at byte {}).",
                                    family.names.front(), pcre2_message(error), error_offset));
        }
        // Without machine code (some systems forbid writable code pages) matching is slower, not
        // wrong.
        const bool compiled = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0;
        patterns.push_back({std::move(code), compiled});
    }
    return PreTokenizer(std::move(patterns));
}

void PreTokenizer::split(std::string_view text, std::vector<std::size_t>& ends) const {
    ends.clear();
    for (std::size_t begin = 0; begin < text.size();) {
        std::size_t end = utf8_valid_end(text, begin);
        if (end > begin) {
            split_valid(text.substr(begin, end - begin), begin, ends);
            begin = end;
        }
        while (end < text.size() && utf8_sequence_length(text, end) == 0) ++end;
        if (end > begin) ends.push_back(end);
        begin = end;
    }
}

void PreTokenizer::split_valid(std::string_view text, std::size_t begin,
                               std::vector<std::size_t>& ends) const {
    std::vector<std::size_t> pieces = {text.size()};
    std::vector<std::size_t> finer;
    for (const Pattern& pattern : patterns_) {
        const MatchData data(pcre2_match_data_create_from_pattern(pattern.code.get(), nullptr));
        EXO_ASSERT(data != nullptr);
        finer.clear();
        std::size_t piece_begin = 0;
        for (const std::size_t piece_end : pieces) {
            const std::string_view piece = text.substr(piece_begin, piece_end - piece_begin);
            std::size_t done = 0;
            while (done < piece.size()) {
                std::size_t match_begin = 0;
                const std::size_t match_end = pattern.find(piece, done, data.get(), match_begin);
                if (match_end == std::string_view::npos) break;
                EXO_ASSERT(match_end > match_begin);
                if (match_begin > done) finer.push_back(piece_begin + match_begin);
                finer.push_back(piece_begin + match_end);
                done = match_end;
            }
            if (done < piece.size()) finer.push_back(piece_end);
            piece_begin = piece_end;
        }
        std::swap(pieces, finer);
    }
    for (const std::size_t end : pieces) ends.push_back(begin + end);
}

}  // namespace exomesh::model
