#include "device/backend_log.h"

#include <ggml.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

namespace exomesh::device {
namespace {

struct Log {
    std::mutex mutex;
    std::deque<std::string> complaints;
    std::string partial;  // ggml writes lines in pieces
    bool partial_complains = false;
    bool echoes = false;
};

// Never destroyed: drivers log from their own exit handlers.
Log& log() {
    static auto* const instance = new Log;
    return *instance;
}

void end_line(Log& target) {
    if (target.partial_complains && !target.partial.empty()) {
        target.complaints.push_back(target.partial);
    }
    target.partial.clear();
    if (target.complaints.size() > backend_complaints_max) target.complaints.pop_front();
}

void on_message(ggml_log_level level, const char* text, void* /*user_data*/) {
    Log& target = log();
    const std::lock_guard lock(target.mutex);
    if (target.echoes) std::fputs(text, stderr);
    if (level != GGML_LOG_LEVEL_CONT) {
        end_line(target);
        target.partial_complains = level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR;
    }
    for (std::string_view rest = text; !rest.empty();) {
        const auto newline = rest.find('\n');
        target.partial += rest.substr(0, newline);
        if (newline == std::string_view::npos) break;
        end_line(target);
        rest.remove_prefix(newline + 1);
    }
}

}  // namespace

void capture_backend_log() {
    static std::once_flag once;
    std::call_once(once, [] {
        const char* wanted = std::getenv("EXOMESH_GGML_LOG");
        log().echoes = wanted != nullptr && std::string_view(wanted) == "1";
        ggml_log_set(on_message, nullptr);
    });
}

std::string backend_complaints() {
    const std::lock_guard lock(log().mutex);
    if (log().complaints.empty()) return {};
    std::string text = " Its log says:";
    for (const std::string& line : log().complaints) {
        text += (text.ends_with(':') ? " '" : "; '") + line + "'";
    }
    return text + ".";
}

}  // namespace exomesh::device
