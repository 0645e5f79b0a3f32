// One request to the engine, streamed on the caller's thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/engine.h"
#include "main/terminal.h"

namespace exomesh::main {

struct Answer {
    std::string text;
    engine::FinishReason finish = engine::FinishReason::stop;
    engine::Usage usage;
};

// Gets each piece of text on the caller's thread; false ends the request (nobody reads any more).
using TextSink = std::function<bool(std::string_view)>;

// Blocks until the answer is complete. Ctrl-C cancels it: what came until then is the answer, with
// FinishReason::cancelled.
[[nodiscard]] Result<Answer> generate(engine::Engine& engine, engine::GenerateRequest request,
                                      const InterruptScope& interrupt, const TextSink& sink);

// "24 prompt tokens in 0.05 s (480.0 tok/s), 15 tokens in 0.20 s (75.0 tok/s)"
[[nodiscard]] std::string speed_line(const engine::Usage& usage);

[[nodiscard]] std::string_view finish_name(engine::FinishReason reason);

}  // namespace exomesh::main
