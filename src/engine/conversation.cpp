#include "engine/conversation.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "engine/engine.h"

namespace exomesh::engine {

namespace {

// U+FDD0 to U+FDEF: code points Unicode never assigns, three bytes each in UTF-8.
constexpr int noncharacter_count = 32;

std::string noncharacter(int index) {
    const int low = 0x90 + index;  // U+FDD0 is EF B7 90, U+FDEF is EF B7 AF
    return {static_cast<char>(0xEF), static_cast<char>(0xB7), static_cast<char>(low)};
}

// The length of the longest name that `text` begins with; 0: none. Narrows the sorted names byte by
// byte, since some vocabularies have thousands that begin alike ("<unused0>" ...).
std::size_t name_length_at(std::string_view text, const std::vector<std::string>& sorted_names) {
    auto first = sorted_names.begin();
    auto last = sorted_names.end();
    std::size_t longest = 0;
    for (std::size_t i = 0; i < text.size() && first != last; ++i) {
        // A name that ends before byte i sorts first; -1 stands for that end.
        const auto byte_at = [i](const std::string& name) {
            return i < name.size() ? static_cast<unsigned char>(name[i]) : -1;
        };
        const int wanted = static_cast<unsigned char>(text[i]);
        std::tie(first, last) = [&] {
            const auto range = std::ranges::equal_range(first, last, wanted, {}, byte_at);
            return std::pair(range.begin(), range.end());
        }();
        if (first != last && first->size() == i + 1) longest = i + 1;
    }
    return longest;
}

}  // namespace

Result<ControlNameMarks> choose_marks(const std::vector<Message>& messages) {
    std::vector<std::string> free;
    for (int i = 0; i < noncharacter_count && free.size() < 2; ++i) {
        std::string mark = noncharacter(i);
        const bool taken = std::ranges::any_of(messages, [&](const Message& message) {
            return message.content.contains(mark) || message.name.contains(mark) ||
                   message.role.contains(mark);
        });
        if (!taken) free.push_back(std::move(mark));
    }
    if (free.size() < 2) {
        return fail(ErrorCode::invalid_argument,
                    "the messages use all of Unicode's noncharacters U+FDD0 to U+FDEF.",
                    "No text needs them: remove them.");
    }
    return ControlNameMarks{free[0], free[1]};
}

std::string mark_control_names(std::string_view text, const std::vector<std::string>& sorted_names,
                               const ControlNameMarks& marks) {
    std::array<bool, 256> begins_name = {};
    for (const std::string& name : sorted_names) {
        begins_name[static_cast<unsigned char>(name.front())] = true;
    }
    std::string marked;
    marked.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        std::size_t length = 0;
        if (begins_name[static_cast<unsigned char>(text[at])]) {
            length = name_length_at(text.substr(at), sorted_names);
        }
        if (length == 0) {
            marked += text[at++];
            continue;
        }
        marked += marks.begin;
        marked += text.substr(at, length);
        marked += marks.end;
        at += length;
    }
    return marked;
}

std::vector<model::TextStretch> split_at_marks(std::string_view rendered,
                                               const ControlNameMarks& marks) {
    std::vector<model::TextStretch> stretches;
    auto special = model::SpecialTokens::parsed;
    std::size_t begin = rendered.find(marks.begin);
    std::size_t end = rendered.find(marks.end);
    for (std::size_t at = 0; at < rendered.size();) {
        const std::size_t cut = std::min({begin, end, rendered.size()});
        if (cut > at) stretches.push_back({rendered.substr(at, cut - at), special});
        if (cut == rendered.size()) break;
        // What follows a begin mark stays text until an end mark, even where a template cut one
        // off.
        if (cut == begin) {
            special = model::SpecialTokens::as_message;
            at = cut + marks.begin.size();
            begin = rendered.find(marks.begin, at);
        } else {
            special = model::SpecialTokens::parsed;
            at = cut + marks.end.size();
            end = rendered.find(marks.end, at);
        }
    }
    return stretches;
}

std::string plain_conversation(const std::vector<Message>& messages) {
    std::string text;
    std::string turns;
    for (const Message& message : messages) {
        if (message.role == "system") {
            text += message.content + "\n\n";
        } else if (message.role == "assistant") {
            // What the model wrote after "Assistant:" begins with its own space.
            turns += std::string(message.content.starts_with(' ') ? "Assistant:" : "Assistant: ") +
                     message.content + "\n";
        } else {
            turns += "User: " + message.content + "\n";
        }
    }
    return text + turns + "Assistant:";
}

ConversationEncoder::ConversationEncoder(const model::Tokenizer& tokenizer,
                                         const model::ChatTemplate* chat_template)
    : tokenizer_(&tokenizer), chat_template_(chat_template) {
    for (std::size_t i = 0; i < tokenizer.vocabulary_size(); ++i) {
        const auto token = static_cast<model::TokenId>(i);
        if (!tokenizer.is_kept_from_messages(token)) continue;
        const std::string_view name = tokenizer.piece_with_specials(token);
        if (!name.empty()) control_names_.emplace_back(name);
    }
    std::ranges::sort(control_names_);
}

ConversationEncoder::ConversationEncoder(const Engine& engine)
    : ConversationEncoder(engine.tokenizer(), engine.chat_template()) {
    if (engine.chat_template_error() != nullptr) template_error_ = *engine.chat_template_error();
}

Result<std::string> ConversationEncoder::render(const std::vector<Message>& messages,
                                                const ConversationOptions& options) const {
    model::ChatTemplateInput input;
    input.messages = model::Json::array();
    for (const Message& message : messages) {
        model::Json entry = {{"role", message.role}, {"content", message.content}};
        if (!message.name.empty()) entry["name"] = message.name;
        input.messages.push_back(std::move(entry));
    }
    input.beginning_of_sequence_text =
        tokenizer_->piece_with_specials(tokenizer_->beginning_of_sequence());
    input.end_of_sequence_text = tokenizer_->piece_with_specials(tokenizer_->end_of_sequence());
    input.now_s = options.now_s;
    input.extra = options.template_variables;
    return chat_template_->render(input);
}

Result<ConversationPrompt> ConversationEncoder::encode(const std::vector<Message>& messages,
                                                       const ConversationOptions& options) const {
    if (messages.empty()) {
        return fail(ErrorCode::invalid_argument, "the conversation has no messages.",
                    "At least one is needed.");
    }
    if (template_error_) return std::unexpected(*template_error_);
    ConversationPrompt prompt;
    if (chat_template_ == nullptr) {
        prompt.tokens =
            tokenizer_->encode(plain_conversation(messages), model::SpecialTokens::as_message,
                               model::SequenceStart::as_model_wants);
        prompt.stop.emplace_back(plain_conversation_stop);
        return prompt;
    }
    EXO_TRY_ASSIGN(const ControlNameMarks marks, choose_marks(messages));
    std::vector<Message> marked = messages;
    for (Message& message : marked) {
        message.content = mark_control_names(message.content, control_names_, marks);
        message.name = mark_control_names(message.name, control_names_, marks);
    }
    EXO_TRY_ASSIGN(const std::string rendered, render(marked, options));

    // Most templates write the beginning-of-sequence token themselves; two of them harm the answer.
    const std::string_view beginning =
        tokenizer_->piece_with_specials(tokenizer_->beginning_of_sequence());
    const auto start = !beginning.empty() && rendered.starts_with(beginning)
                           ? model::SequenceStart::none
                           : model::SequenceStart::as_model_wants;
    prompt.tokens = tokenizer_->encode(split_at_marks(rendered, marks), start);
    return prompt;
}

}  // namespace exomesh::engine
