// A long-lived child process that may crash or hang: it neither outlives this process nor takes it
// along. For work that is done when a program ends, child_process.h is simpler.
//
// Ends. The child is killed when this process ends in any way (Linux: the kernel's parent-death
// signal). Its standard input is a pipe on which nothing is ever written and which closes at that
// moment: a program that ends when its input does needs no such kernel. It leads a process group of
// its own, so that Ctrl-C in a terminal reaches this process only, which ends its children in
// order; what the child started and left in that group is killed when the child ends.
//
// Output. A thread of its own takes in all that the child writes to its standard error and keeps
// the end of it: messages never block the child; or the child writes where this process does.
// Standard output belongs to read_line alone: a
// child that writes more than a pipe holds (64 KiB on Linux) waits until somebody reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "platform/child_process.h"
#include "platform/deadline.h"

namespace exomesh::platform {

inline constexpr std::size_t child_line_bytes_max = 64 << 10;
inline constexpr std::size_t child_errors_kept_bytes = 64 << 10;

enum class ChildErrors { kept, passed_on };

struct SupervisedCommand {
    std::vector<std::string> arguments = {};  // the first is the program's path, searched nowhere
    std::vector<std::pair<std::string, std::string>> environment = {};  // on top of this process's
    // From the start until the child's first line (its way to say that it is ready): read_line
    // waits no longer for that one, whatever its deadline.
    std::uint64_t first_line_timeout_ms = 60'000;
    ChildErrors errors = ChildErrors::kept;
    // A descriptor of this process that the child gets beside the three standard ones, by the same
    // number: a socket to go on listening at, say. -1 for none.
    int inherited_descriptor = -1;
};

struct ChildExit {
    ChildEnd end = ChildEnd::exited;  // never timed_out
    int code = 0;                     // exit status or signal number

    // For people, such as "exit code 3" or "signal 11 (Segmentation fault)".
    [[nodiscard]] std::string text() const;
};

// One thread at a time may use a SupervisedChild; any thread may, also one that ends before it.
class SupervisedChild {
  public:
    // Returns once the program runs. invalid_argument without a program, not_found where there is
    // none at its path, io or resource_exhausted where the system refuses.
    [[nodiscard]] static Result<SupervisedChild> start(const SupervisedCommand& command);

    // Kills what still runs, at once, and reaps it.
    ~SupervisedChild();
    SupervisedChild(SupervisedChild&& other) noexcept;
    SupervisedChild& operator=(SupervisedChild&& other) noexcept;

    // The next line of the child's standard output, without its newline. unavailable where there is
    // none by the deadline (poll_exit() is empty then, and a later call may succeed) or where the
    // child has ended: the message says how, with the last lines of its errors. Lines written
    // before the end are given first; a last one without newline is cut off by a crash and never
    // given. resource_exhausted, from then on, for a line longer than child_line_bytes_max.
    [[nodiscard]] Result<std::string> read_line(Deadline deadline);

    // How the child ended; empty while it runs. Never blocks. Reaps the child.
    [[nodiscard]] std::optional<ChildExit> poll_exit();

    // Asks the child to end (SIGTERM), kills it and its group where it has not by the deadline, and
    // reaps it. Nothing happens where it has ended already.
    void terminate(Deadline deadline);

    // The last child_errors_kept_bytes of the child's standard error where that is kept; complete
    // once poll_exit() or read_line has told of its end.
    [[nodiscard]] std::string errors() const;

    // Stays the same after the end, when the system may give it to another process.
    [[nodiscard]] int pid() const;

  private:
    class Process;
    explicit SupervisedChild(std::unique_ptr<Process> process);
    std::unique_ptr<Process> process_;
};

}  // namespace exomesh::platform
