#include "main/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "model/printable.h"
#include "platform/clock.h"

namespace exomesh::main {

namespace {

constexpr std::uint64_t update_interval_us = 100'000;  // of a progress line

// Written by the signal handler; lock-free atomics are all it may touch.
std::atomic<int> interrupt_count = 0;
std::atomic<bool> terminate_came = false;
std::atomic<std::uint64_t> first_signal_us = 0;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free &&
              std::atomic<std::uint64_t>::is_always_lock_free);

// A byte in this pipe for every signal wakes whoever polls: a signal may reach any thread, so that
// it need not interrupt the call of the one that waits. -1 where no InterruptScope lives.
int wake_pipe[2] = {-1, -1};

struct sigaction previous_interrupt_action;
struct sigaction previous_terminate_action;

void on_signal(int number) {
    const int saved_errno = errno;
    const std::uint64_t now_us = platform::monotonic_us();
    if (interrupt_count == 0) first_signal_us = now_us;
    if (now_us - first_signal_us > signal_repeat_us) {
        ::signal(number, SIG_DFL);
        ::raise(number);  // takes effect when this handler returns
    }
    if (number == SIGTERM) terminate_came = true;
    ++interrupt_count;
    // A full pipe wakes as well as one more byte in it would.
    [[maybe_unused]] const ssize_t written = ::write(wake_pipe[1], "", 1);
    errno = saved_errno;
}

bool colours_wanted() {
    const char* no_color = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return is_terminal(Stream::error) && (no_color == nullptr || *no_color == '\0') &&
           (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
}

std::size_t terminal_columns() {
    constexpr std::size_t columns_default = 80;
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return columns_default;
    return size.ws_col;
}

const char* code_of(Style style) {
    switch (style) {
        case Style::error:
            return "\033[1;31m";
        case Style::strong:
            return "\033[1m";
        case Style::faint:
            return "\033[2m";
    }
    return "";
}

}  // namespace

std::string fit(std::string_view label, std::string_view text, std::size_t columns) {
    const auto cut = [](std::string_view whole, std::size_t size) {
        if (whole.size() <= size) return whole;
        // Not inside a character of UTF-8.
        while (size > 0 && (static_cast<unsigned char>(whole[size]) & 0xC0U) == 0x80U) --size;
        return whole.substr(0, size);
    };
    const std::size_t space = columns > 0 ? columns - 1 : 0;
    const std::string_view kept = cut(text, space);
    return std::string(cut(label, space - kept.size())) + std::string(kept);
}

bool is_terminal(Stream stream) {
    return ::isatty(static_cast<int>(stream)) == 1;
}

std::string styled(Style style, std::string_view text) {
    static const bool wanted = colours_wanted();
    return wanted ? code_of(style) + std::string(text) + "\033[0m" : std::string(text);
}

bool print(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
        std::fflush(stdout) == 0) {
        return true;
    }
    const int reason = errno;
    static bool has_told = false;
    if (!std::exchange(has_told, true)) {
        print_note(styled(Style::error, "error:") +
                   " the output cannot be written: " + std::strerror(reason) + ".\n");
    }
    return false;
}

void print_note(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
}

void print_event(std::string_view text) {
    print_note(model::printable(text) + "\n");
}

ProgressLine::~ProgressLine() {
    if (is_drawn_) print_note("\r\033[K");
}

void ProgressLine::update(double fraction) {
    if (!is_terminal(Stream::error)) return;
    const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100.0);
    const std::uint64_t now_us = platform::monotonic_us();
    if (percent == percent_ || (percent < 100 && now_us < next_update_us_)) return;
    percent_ = percent;
    next_update_us_ = now_us + update_interval_us;
    const std::size_t width = 24;
    const std::size_t filled = width * static_cast<std::size_t>(percent) / 100;
    show(" [" + std::string(filled, '=') + std::string(width - filled, ' ') + "] " +
         std::to_string(percent) + " %");
}

void ProgressLine::show(std::string_view text) {
    if (!is_terminal(Stream::error)) return;
    is_drawn_ = true;
    // A line that wraps could not be wiped: cut it, the label first, where the terminal is narrow.
    print_note("\r\033[K" + fit(label_, text, terminal_columns()));
}

InterruptScope::InterruptScope() {
    EXO_ASSERT(::pipe2(wake_pipe, O_NONBLOCK | O_CLOEXEC) == 0);
    interrupt_count = 0;
    terminate_came = false;
    struct sigaction action{};
    action.sa_handler = on_signal;
    ::sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    EXO_ASSERT(::sigaction(SIGINT, &action, &previous_interrupt_action) == 0);
    EXO_ASSERT(::sigaction(SIGTERM, &action, &previous_terminate_action) == 0);
}

InterruptScope::~InterruptScope() {
    ::sigaction(SIGINT, &previous_interrupt_action, nullptr);
    ::sigaction(SIGTERM, &previous_terminate_action, nullptr);
    interrupt_count = 0;
    for (int& end : wake_pipe) ::close(std::exchange(end, -1));
}

void InterruptScope::wait() const {
    pollfd wake = {wake_pipe[0], POLLIN, 0};
    while (count() == 0) ::poll(&wake, 1, -1);
}

int InterruptScope::count() const {
    return interrupt_count;
}

int InterruptScope::signal_number() const {
    if (terminate_came) return SIGTERM;
    return interrupt_count > 0 ? SIGINT : 0;
}

void InterruptScope::reset() {
    if (terminate_came) return;
    // In this order: a signal between the two is counted, and the count is looked at before a poll.
    interrupt_count = 0;
    char bytes[64];
    while (::read(wake_pipe[0], bytes, sizeof bytes) > 0) {
    }
}

LineReader::Line LineReader::next() {
    while (true) {
        if (interrupt_count > 0) return {Status::interrupted, ""};
        if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
            Line line = {Status::line, buffer_.substr(0, end)};
            buffer_.erase(0, end + 1);
            return line;
        }
        if (at_end_ || buffer_.size() > input_line_bytes_max) {
            if (buffer_.empty()) return {Status::end, ""};
            return {Status::line, std::exchange(buffer_, {})};
        }
        pollfd waited[2] = {{file_, POLLIN, 0}, {wake_pipe[0], POLLIN, 0}};
        if (::poll(waited, 2, -1) < 0 && errno == EINTR) continue;
        if (interrupt_count > 0) continue;
        char chunk[4096];
        const ssize_t count = ::read(file_, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) {
            at_end_ = true;
        } else {
            buffer_.append(chunk, static_cast<std::size_t>(count));
        }
    }
}

Result<std::string> read_all_input() {
    std::string text;
    char chunk[65536];
    while (true) {
        const ssize_t count = ::read(0, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) {
            return fail(ErrorCode::io,
                        std::string("cannot read stdin: ") + std::strerror(errno) + ".");
        }
        if (count == 0) return text;
        text.append(chunk, static_cast<std::size_t>(count));
        if (text.size() > input_line_bytes_max) {
            return fail(ErrorCode::resource_exhausted, "the prompt on stdin is larger than 16 MiB.",
                        "Give a shorter one.");
        }
    }
}

}  // namespace exomesh::main
