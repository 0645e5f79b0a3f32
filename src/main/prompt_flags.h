// The prompt of the commands that answer one: `run` and `trace`.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "engine/engine.h"
#include "main/engine_flags.h"

namespace exomesh::main {

struct PromptFlags {
    const CLI::Option* prompt = nullptr;  // its results are the words of the command line
    std::string system;
    bool raw = false;
};

// After the option MODEL. The references must outlive the parse.
void add_prompt_flags(CLI::App& command, PromptFlags& flags);

// The words of the command line, or stdin.
[[nodiscard]] Result<std::string> prompt_text(const PromptFlags& flags);

// A request for the answer to `prompt`; tells people where the model has no template for it.
[[nodiscard]] Result<engine::GenerateRequest> build_request(const engine::Engine& engine,
                                                            const PromptFlags& flags,
                                                            const SamplingFlags& sampling,
                                                            const std::string& prompt);

}  // namespace exomesh::main
