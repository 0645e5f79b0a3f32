#include "engine/text_stream.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "model/utf8.h"

namespace exomesh::engine {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

enum class CutSequence { keep, replace };

// Moves the whole sequences at the front of `bytes` to the result.
std::string take_text(std::string_view& bytes, CutSequence at_end) {
    std::string text;
    while (!bytes.empty()) {
        const model::Utf8Step step = model::utf8_step(bytes, 0);
        if (step.is_cut && at_end == CutSequence::keep) break;
        text.append(step.is_whole ? bytes.substr(0, step.length) : replacement);
        bytes.remove_prefix(step.length);
    }
    return text;
}

}  // namespace

TextStream::Stop::Stop(std::string stop_text)
    : text(std::move(stop_text)), border(text.size() + 1) {
    static_assert(stop_string_bytes_max <= std::numeric_limits<std::uint16_t>::max());
    std::size_t length = 0;
    for (std::size_t i = 1; i < text.size(); ++i) {
        while (length > 0 && text[i] != text[length]) length = border[length];
        if (text[i] == text[length]) ++length;
        border[i + 1] = static_cast<std::uint16_t>(length);
    }
}

bool TextStream::Stop::advance(char byte) {
    while (matched_count > 0 && text[matched_count] != byte) matched_count = border[matched_count];
    if (text[matched_count] == byte) ++matched_count;
    return matched_count == text.size();
}

Result<TextStream> TextStream::create(const std::vector<std::string>& stop_strings) {
    if (stop_strings.size() > stop_string_count_max) {
        return fail(ErrorCode::invalid_argument,
                    std::to_string(stop_strings.size()) + " stop strings were given;",
                    "at most " + std::to_string(stop_string_count_max) + " are allowed.");
    }
    for (const std::string& stop : stop_strings) {
        if (stop.empty()) {
            return fail(ErrorCode::invalid_argument, "A stop string is empty.",
                        "Leave it out instead.");
        }
        if (stop.size() > stop_string_bytes_max) {
            return fail(ErrorCode::invalid_argument,
                        "A stop string has " + std::to_string(stop.size()) + " bytes;",
                        "at most " + std::to_string(stop_string_bytes_max) + " are allowed.");
        }
    }
    return TextStream(stop_strings);
}

TextStream::TextStream(const std::vector<std::string>& stop_strings)
    : stops_(stop_strings.begin(), stop_strings.end()) {}

TextChunk TextStream::push(std::string_view bytes) {
    TextChunk chunk;
    if (ended_) return chunk;
    for (const char byte : bytes) {
        held_.push_back(byte);
        const Stop* match = nullptr;
        for (Stop& stop : stops_) {
            if (stop.advance(byte) && (!match || stop.text.size() > match->text.size())) {
                match = &stop;
            }
        }
        if (match) {
            held_.resize(held_.size() - match->text.size());
            chunk.stop_match = match->text;
            chunk.text = finish();
            return chunk;
        }
    }
    std::size_t stop_byte_count = 0;
    for (const Stop& stop : stops_) stop_byte_count = std::max(stop_byte_count, stop.matched_count);
    chunk.text = release(held_.size() - stop_byte_count);
    return chunk;
}

// Lets out the whole sequences among the first `byte_count` bytes held.
std::string TextStream::release(std::size_t byte_count) {
    std::string_view open = std::string_view(held_).substr(0, byte_count);
    std::string text = take_text(open, CutSequence::keep);
    held_.erase(0, byte_count - open.size());
    return text;
}

std::string TextStream::finish() {
    ended_ = true;
    std::string_view open = held_;
    std::string text = take_text(open, CutSequence::replace);
    held_.clear();
    return text;
}

}  // namespace exomesh::engine
