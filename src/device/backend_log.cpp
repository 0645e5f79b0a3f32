#include "device/backend_log.h"

#include <ggml.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <string_view>

namespace exomesh::device {
namespace {

struct Log {
    std::mutex mutex;
    std::deque<std::string> lines;
    std::string partial;  // ggml writes lines in pieces
    LogEcho echo = LogEcho::quiet;
};

// Never destroyed: drivers log from their own exit handlers.
Log& log() {
    static auto* const instance = new Log;
    return *instance;
}

void on_message(ggml_log_level level, const char* text, void* /*user_data*/) {
    Log& target = log();
    const std::lock_guard lock(target.mutex);
    if (target.echo == LogEcho::to_stderr) std::fputs(text, stderr);
    // Backends write a debug line per repacked tensor, which would push out everything else.
    if (level == GGML_LOG_LEVEL_DEBUG) return;
    target.partial += text;
    std::size_t start = 0;
    for (auto end = target.partial.find('\n'); end != std::string::npos;
         end = target.partial.find('\n', start)) {
        target.lines.push_back(target.partial.substr(start, end - start));
        start = end + 1;
    }
    target.partial.erase(0, start);
    while (target.lines.size() > backend_log_lines_max) target.lines.pop_front();
}

}  // namespace

void capture_backend_log() {
    static std::once_flag once;
    std::call_once(once, [] {
        const char* wanted = std::getenv("EXOMESH_GGML_LOG");
        if (wanted != nullptr && std::string_view(wanted) == "1") log().echo = LogEcho::to_stderr;
        ggml_log_set(on_message, nullptr);
    });
}

void set_backend_log_echo(LogEcho echo) {
    const std::lock_guard lock(log().mutex);
    log().echo = echo;
}

std::vector<std::string> backend_log() {
    const std::lock_guard lock(log().mutex);
    return {log().lines.begin(), log().lines.end()};
}

}  // namespace exomesh::device
