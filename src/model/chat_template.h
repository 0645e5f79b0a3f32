// Chat templates: the Jinja program a model carries that turns messages into its prompt text.
//
// A subset of Jinja2 large enough for the templates of Llama 3, Qwen 2.5 and 3, Gemma 3, Phi,
// Mistral, SmolLM2, DeepSeek R1 and gpt-oss, rendered as Hugging Face does (trim_blocks,
// lstrip_blocks, the globals raise_exception and strftime_now, the tojson filter). A template is a
// program by a stranger: it sees only the values it is given, and steps, depth and output are
// limited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace exomesh::model {

using Json = nlohmann::ordered_json;

inline constexpr std::size_t template_source_bytes_max = 1 << 20;
inline constexpr std::size_t template_output_bytes_max = 64 << 20;
inline constexpr std::uint64_t template_step_count_max = 50'000'000;
inline constexpr std::size_t template_depth_max = 100;

struct ChatTemplateInput {
    Json messages;         // [{"role": ..., "content": ..., ...}]
    Json tools = nullptr;  // OpenAI's list of tools, or null
    bool add_generation_prompt = true;
    std::string beginning_of_sequence_text;  // bos_token
    std::string end_of_sequence_text;        // eos_token
    std::int64_t now_s = 0;                  // Unix time for strftime_now (UTC)
    Json extra = Json::object();             // further variables, e.g. {"enable_thinking": false}
};

class ChatTemplate {
  public:
    // A syntax error names its line.
    [[nodiscard]] static Result<ChatTemplate> create(std::string_view source);
    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // The prompt. raise_exception and run-time errors come back as invalid_argument with the
    // template's own words and line.
    [[nodiscard]] Result<std::string> render(const ChatTemplateInput& input) const;

    // Any Jinja program of the subset over any variables: what tests compare with Jinja2.
    [[nodiscard]] Result<std::string> render_variables(const Json& variables,
                                                       std::int64_t now_s) const;

  private:
    struct Program;
    explicit ChatTemplate(std::shared_ptr<const Program> program);
    std::shared_ptr<const Program> program_;
};

}  // namespace exomesh::model
