#include "model/token_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <string>

#include "base/assert.h"
#include "model/byte_level.h"

namespace exomesh::model {

namespace {

// Names of tokens that end an answer: control tokens whatever the file says, because files exist
// that list them as ordinary text, and a model would then never stop.
constexpr auto control_names = std::to_array<std::string_view>({
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|im_start|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<start_of_turn>",
});

// "<0x0A>" → '\n'; false where it is not spelled so.
bool append_byte_token(std::string_view written, std::string& bytes) {
    if (written.size() != 6 || !written.starts_with("<0x") || written[5] != '>') return false;
    unsigned value = 0;
    const char* const end = written.data() + 5;
    if (std::from_chars(written.data() + 3, end, value, 16).ptr != end) return false;
    bytes.push_back(static_cast<char>(value));
    return true;
}

void append_text(std::string_view written, TokenKind kind, TokenSpelling spelling,
                 std::string& bytes) {
    const std::size_t begin = bytes.size();
    switch (kind) {
        case TokenKind::control:
        case TokenKind::unknown:
            break;  // spelled as they are
        case TokenKind::user_defined:
            // Some converters leave the "▁" in, some write the space.
            if (spelling == TokenSpelling::byte_level) break;
            append_without_space_marks(written, bytes);
            return;
        case TokenKind::byte:
            if (append_byte_token(written, bytes)) return;
            break;
        case TokenKind::normal:
        case TokenKind::unused:
            if (spelling == TokenSpelling::sentence_piece) {
                append_without_space_marks(written, bytes);
                return;
            }
            if (append_byte_level(written, bytes)) return;
            bytes.resize(begin);
            break;
    }
    bytes.append(written);
}

Result<std::vector<TokenKind>> read_kinds(const Gguf& gguf,
                                          const std::vector<std::string>& written) {
    std::vector<TokenKind> kinds(written.size(), TokenKind::normal);
    if (const auto* types = gguf.integers("tokenizer.ggml.token_type"); types != nullptr) {
        if (types->size() != written.size()) {
            return fail(ErrorCode::corrupt_data,
                        std::format("tokenizer.ggml.token_type has {} entries for {} tokens.",
                                    types->size(), written.size()),
                        "The model file is damaged: download it again.");
        }
        for (std::size_t i = 0; i < kinds.size(); ++i) {
            const std::int64_t type = (*types)[i];
            if (type >= 1 && type <= 6) kinds[i] = static_cast<TokenKind>(type);
        }
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const std::string& name = written[i];
        if (name.size() < 10 || name.front() != '<') continue;
        if (std::ranges::contains(control_names, name)) kinds[i] = TokenKind::control;
    }
    return kinds;
}

}  // namespace

void append_without_space_marks(std::string_view written, std::string& text) {
    while (!written.empty()) {
        const std::size_t mark = written.find(space_mark);
        text.append(written.substr(0, mark));
        if (mark == std::string_view::npos) return;
        text.push_back(' ');
        written.remove_prefix(mark + space_mark.size());
    }
}

Result<TokenTable> TokenTable::read(const Gguf& gguf, TokenSpelling spelling) {
    const auto* written = gguf.strings("tokenizer.ggml.tokens");
    if (written == nullptr || written->empty()) {
        return fail(ErrorCode::corrupt_data, "the file has no vocabulary (tokenizer.ggml.tokens).",
                    "It may be an adapter or a part of a split model: use the model's first file.");
    }
    if (written->size() > vocabulary_size_max) {
        return fail(ErrorCode::resource_exhausted,
                    std::format("the vocabulary has {} tokens; at most {} are supported.",
                                written->size(), vocabulary_size_max));
    }
    TokenTable table;
    EXO_TRY_ASSIGN(table.kinds_, read_kinds(gguf, *written));
    std::size_t size_bytes = 0;
    for (const std::string& name : *written) size_bytes += name.size();
    // No text is longer than its spelling, so the views below stay valid while the block fills.
    table.storage_.reserve(size_bytes);
    table.texts_.reserve(written->size());
    std::string bytes;
    for (std::size_t i = 0; i < written->size(); ++i) {
        bytes.clear();
        append_text((*written)[i], table.kinds_[i], spelling, bytes);
        const std::size_t begin = table.storage_.size();
        EXO_ASSERT(begin + bytes.size() <= size_bytes);
        table.storage_.insert(table.storage_.end(), bytes.begin(), bytes.end());
        table.texts_.emplace_back(table.storage_.data() + begin, bytes.size());
    }
    return table;
}

}  // namespace exomesh::model
