// What the program shows and reads: answers on stdout, everything else on stderr, lines from stdin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace exomesh::main {

inline constexpr std::size_t input_line_bytes_max = 16 << 20;

enum class Stream { input = 0, output = 1, error = 2 };
[[nodiscard]] bool is_terminal(Stream stream);

// Colours for stderr; the text as it is where stderr is no terminal, NO_COLOR is set or TERM is
// "dumb".
enum class Style { error, strong, faint };
[[nodiscard]] std::string styled(Style style, std::string_view text);

// To stdout, at once. False where nobody reads any more (a closed pipe, a full disk).
[[nodiscard]] bool print(std::string_view text);
// To stderr, at once.
void print_note(std::string_view text);
// A line to stderr that may quote files and other machines, which must not speak to the terminal.
void print_event(std::string_view text);

// `label` and `text` in a line that does not wrap: the label is cut before the text is.
[[nodiscard]] std::string fit(std::string_view label, std::string_view text, std::size_t columns);

// One line on stderr that is drawn over and over; draws nothing where stderr is no terminal. The
// destructor wipes it.
class ProgressLine {
  public:
    explicit ProgressLine(std::string label) : label_(std::move(label)) {}
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    void update(double fraction);      // 0 to 1: a bar
    void show(std::string_view text);  // the label and a text

  private:
    std::string label_;
    int percent_ = -1;
    bool is_drawn_ = false;
    std::uint64_t next_update_us_ = 0;
};

// While one lives, Ctrl-C (and SIGTERM) counts instead of ending the program, so that what is there
// can be kept. A second one ends the program at once: what the first one waits for may take long.
// One at a time.
class InterruptScope {
  public:
    InterruptScope();
    ~InterruptScope();
    InterruptScope(const InterruptScope&) = delete;
    InterruptScope& operator=(const InterruptScope&) = delete;

    // Blocks until the first signal.
    void wait() const;
    [[nodiscard]] int count() const;
    // SIGTERM where that came, else SIGINT; 0 where none did.
    [[nodiscard]] int signal_number() const;
    // Forgets every Ctrl-C, but no SIGTERM.
    void reset();
};

// What comes this soon behind a signal is the same wish: `timeout` and npm send each one twice.
inline constexpr std::uint64_t signal_repeat_us = 250'000;

// Reads stdin line by line. A signal an InterruptScope has counted ends a waiting read, also where
// it came before the read began.
class LineReader {
  public:
    enum class Status { line, end, interrupted };
    struct Line {
        Status status = Status::end;
        std::string text;  // without the newline
    };

    explicit LineReader(int file = 0) : file_(file) {}
    [[nodiscard]] Line next();

  private:
    int file_;
    std::string buffer_;
    bool at_end_ = false;
};

// All of stdin; resource_exhausted above input_line_bytes_max.
[[nodiscard]] Result<std::string> read_all_input();

}  // namespace exomesh::main
