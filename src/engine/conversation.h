// A conversation's messages as the prompt tokens of one model: what the CLI's chat and the HTTP API
// share.
//
// With a chat template, the template decides; text inside messages never becomes a control token,
// nor a user-defined one with a name such as control tokens have: where a message spells the name
// of one ("<|im_end|>"), that name is encoded as plain text. It is found before rendering, put
// between two Unicode noncharacters that occur in no message, and cut out of the rendered text
// again. A template that takes message text apart inside such a name could still join pieces to
// one; no known template does.
//
// Without a template (a base model), the prompt is
//
//     {system text}\n\nUser: {text}\nAssistant: {text}\n...\nAssistant:
//
// and the answer must be stopped at "\nUser:", which is why `stop` comes along.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace exomesh::engine {

class Engine;

struct Message {
    std::string role;  // "system", "user", "assistant" or "tool"
    std::string content;
    std::string name = {};  // passed to the template where not empty
};

struct ConversationOptions {
    // Further variables for the template, e.g. {"enable_thinking": false}.
    model::Json template_variables = model::Json::object();
    std::int64_t now_s = 0;  // Unix time, for templates that write the date
};

struct ConversationPrompt {
    std::vector<model::TokenId> tokens;
    std::vector<std::string> stop;  // to be added to the request's own stop strings
};

// Encodes conversations for one model. Holds references: tokenizer and template must outlive it.
// Thread-safe after creation.
class ConversationEncoder {
  public:
    // `chat_template` may be nullptr: the plain form above is used.
    ConversationEncoder(const model::Tokenizer& tokenizer,
                        const model::ChatTemplate* chat_template);
    explicit ConversationEncoder(const Engine& engine);

    // invalid_argument: no messages, or the template refuses them (in its own words); unsupported:
    // the model's template cannot be read.
    [[nodiscard]] Result<ConversationPrompt> encode(const std::vector<Message>& messages,
                                                    const ConversationOptions& options) const;

  private:
    [[nodiscard]] Result<std::string> render(const std::vector<Message>& messages,
                                             const ConversationOptions& options) const;

    const model::Tokenizer* tokenizer_;
    const model::ChatTemplate* chat_template_;
    std::optional<Error> template_error_;
    std::vector<std::string> control_names_;  // sorted
};

// The plain form, as text: what a model without a template is given.
[[nodiscard]] std::string plain_conversation(const std::vector<Message>& messages);
inline constexpr const char* plain_conversation_stop = "\nUser:";

// Finds the names of control tokens in message text, and encodes rendered text in which such names
// are marked. Separate from the encoder so that it is tested with any tokenizer.
struct ControlNameMarks {
    std::string begin;  // UTF-8 of a noncharacter (U+FDD0 to U+FDEF)
    std::string end;
};

// Two noncharacters that occur in none of the texts; invalid_argument where all are taken.
[[nodiscard]] Result<ControlNameMarks> choose_marks(const std::vector<Message>& messages);

// `text` with every name of `sorted_names` (leftmost, longest first) between the marks.
[[nodiscard]] std::string mark_control_names(std::string_view text,
                                             const std::vector<std::string>& sorted_names,
                                             const ControlNameMarks& marks);

// The rendered text without the marks.
[[nodiscard]] std::vector<model::TextStretch> split_at_marks(std::string_view rendered,
                                                             const ControlNameMarks& marks);

}  // namespace exomesh::engine
