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

constexpr auto end_names = std::to_array<std::string_view>({
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endofturn|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_role|>",
    "<|end_of_sentence|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<turn|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
});
// The counterparts of some of them, which the same files list as ordinary text.
constexpr auto start_names = std::to_array<std::string_view>({"<|im_start|>", "<start_of_turn>"});

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
        const std::string_view name = written[i];
        if (is_end_name(name) || std::ranges::contains(start_names, name)) {
            kinds[i] = TokenKind::control;
        }
    }
    return kinds;
}

bool is_special(TokenKind kind) {
    return kind == TokenKind::control || kind == TokenKind::unknown ||
           kind == TokenKind::user_defined;
}

Result<> check_sizes(const std::vector<std::string>& written, const std::vector<TokenKind>& kinds) {
    std::size_t special_bytes = 0;
    for (std::size_t i = 0; i < written.size(); ++i) {
        const bool special = is_special(kinds[i]);
        const std::size_t size_max = special ? special_text_bytes_max : token_text_bytes_max;
        if (written[i].size() > size_max) {
            return fail(ErrorCode::corrupt_data,
                        std::format("token {} of the vocabulary has a text of {} bytes; at most {} "
                                    "are supported.",
                                    i, written[i].size(), size_max),
                        "The model file is damaged: download it again.");
        }
        if (special) special_bytes += written[i].size();
    }
    if (special_bytes > special_texts_bytes_max) {
        return fail(ErrorCode::corrupt_data,
                    std::format("the vocabulary's special tokens have texts of {} bytes; at most "
                                "{} are supported.",
                                special_bytes, special_texts_bytes_max),
                    "The model file is damaged: download it again.");
    }
    return {};
}

}  // namespace

bool is_end_name(std::string_view name) {
    return std::ranges::contains(end_names, name);
}

bool TokenTable::is_turn_mark(TokenId token) const {
    const std::string_view name = text(token);
    return kind(token) == TokenKind::user_defined &&
           ((name.starts_with("<|") && name.ends_with("|>")) ||
            (name.starts_with("<｜") && name.ends_with("｜>")));
}

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
    EXO_TRY(check_sizes(*written, table.kinds_));
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
