#include "platform/supervised_child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <future>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>

#include "platform/child_launch.h"

namespace exomesh::platform {
namespace {

// How long a killed child may take to vanish: one that waits for a broken driver may never.
constexpr std::uint64_t kill_wait_ms = 2000;
// How long a child that has closed its output may take to end before it counts as still running.
constexpr std::uint64_t close_to_end_wait_ms = 1000;
// How soon read_line notices that a child has ended whose own children keep its output open.
constexpr std::uint64_t exit_check_interval_ms = 50;
// What is read of the child's errors after its end: more than any pipe holds unless set so, and an
// end to what a descendant outside the group goes on writing.
constexpr std::size_t last_errors_bytes_max = 1 << 20;
constexpr std::size_t shown_errors_bytes_max = 2000;
constexpr std::size_t chunk_bytes = 4096;

// Everything the forked child needs, made before the fork: it must not allocate.
struct Launch {
    std::vector<std::string> argument_texts;
    std::vector<std::string> environment_texts;
    std::vector<char*> arguments = {};
    std::vector<char*> environment = {};
    pid_t parent = 0;
    Descriptor input;  // the child's ends, like the two below
    Descriptor output;
    Descriptor errors;
    Pipe failure;  // closes when exec succeeds, else tells errno
    int inherited = -1;
    bool shares_terminal = false;  // it may write to that of this process
};

// Runs in the forked child of a process with other threads: calls async-signal-safe functions only.
[[noreturn]] void become_program(const Launch& launch) {
    ::setpgid(0, 0);
    bool alone = false;
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    alone = ::getppid() != launch.parent;  // the parent ended before the line above
    // Libraries open files that exec would keep. Where the kernel is too old for this, it keeps
    // them.
    ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
#endif
    if (launch.inherited > STDERR_FILENO) ::fcntl(launch.inherited, F_SETFD, 0);
    // All signals are blocked since before the fork, so that no handler of the parent runs here.
    // Ignored ones would stay ignored in the program.
    struct sigaction action{};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &action, nullptr);
    if (launch.shares_terminal) {
        // A terminal may stop who writes to it from a process group of its own.
        action.sa_handler = SIG_IGN;
        ::sigaction(SIGTTOU, &action, nullptr);
    }
    const bool connected = ::dup2(launch.input.get(), STDIN_FILENO) >= 0 &&
                           ::dup2(launch.output.get(), STDOUT_FILENO) >= 0 &&
                           ::dup2(launch.errors.get(), STDERR_FILENO) >= 0;
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    if (connected && !alone) {
        ::execve(launch.arguments.front(), launch.arguments.data(), launch.environment.data());
    }
    const int error = errno;
    if (::write(launch.failure.writer.get(), &error, sizeof error) < 0) ::_exit(126);
    ::_exit(127);
}

// Closes the child's ends in this process.
Result<pid_t> launch_program(Launch launch) {
    const pid_t child = ::fork();
    if (child == 0) become_program(launch);
    if (child < 0) {
        return fail(ErrorCode::resource_exhausted,
                    std::string("cannot start a process: ") + std::strerror(errno) + ".");
    }
    launch.failure.writer.close();
    int error = 0;
    ssize_t count = 0;
    do {
        count = ::read(launch.failure.reader.get(), &error, sizeof error);
    } while (count < 0 && errno == EINTR);
    if (count != static_cast<ssize_t>(sizeof error)) return child;
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
    return fail(
        error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
        "cannot start " + launch.argument_texts.front() + ": " + std::strerror(error) + ".");
}

enum class ReadState { some, nothing_yet, closed };

// Of a descriptor that does not block.
ReadState read_some(int descriptor, std::string& text) {
    std::array<char, chunk_bytes> chunk;
    ssize_t count = 0;
    do {
        count = ::read(descriptor, chunk.data(), chunk.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ReadState::nothing_yet;
    if (count <= 0) return ReadState::closed;
    text.append(chunk.data(), static_cast<std::size_t>(count));
    return ReadState::some;
}

// The end of all that was added.
class ErrorTail {
  public:
    void add(std::string_view text) {
        const std::scoped_lock lock(mutex_);
        text_.append(text);
        if (text_.size() > 2 * child_errors_kept_bytes) cut();
    }
    [[nodiscard]] std::string text() {
        const std::scoped_lock lock(mutex_);
        cut();
        return text_;
    }

  private:
    void cut() {
        if (text_.size() > child_errors_kept_bytes) {
            text_.erase(0, text_.size() - child_errors_kept_bytes);
        }
    }
    std::mutex mutex_;
    std::string text_;
};

// What the keeper thread and the SupervisedChild share.
struct Kept {
    Descriptor errors;       // the keeper's
    Descriptor stop_reader;  // the keeper's; closed at the other end when the child is gone
    ErrorTail tail;
    std::atomic<bool> abandoned = false;  // the keeper is to reap the child
};

void keep_errors(Kept& kept) {
    std::string text;
    std::array<pollfd, 2> waits = {pollfd{kept.errors.get(), POLLIN, 0},
                                   pollfd{kept.stop_reader.get(), POLLIN, 0}};
    while (waits[1].revents == 0) {
        if (::poll(waits.data(), waits.size(), -1) < 0) continue;
        if (waits[0].revents == 0) continue;
        text.clear();
        // A child may close its errors and run on: poll leaves out negative descriptors.
        if (read_some(kept.errors.get(), text) == ReadState::closed) waits[0].fd = -1;
        kept.tail.add(text);
    }
    std::size_t read_bytes = 0;
    text.clear();
    while (read_bytes < last_errors_bytes_max &&
           read_some(kept.errors.get(), text) == ReadState::some) {
        read_bytes += text.size();
        kept.tail.add(text);
        text.clear();
    }
}

// The thread that starts the child lives as long as the child: Linux sends the parent-death signal
// when the thread that forked ends, not when its process does.
void run_keeper(const std::shared_ptr<Kept>& kept, Launch launch,
                std::promise<Result<pid_t>> started) {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    const auto child = launch_program(std::move(launch));
    started.set_value(child);
    if (!child) return;
    keep_errors(*kept);
    if (!kept->abandoned) return;
    while (::waitpid(*child, nullptr, 0) < 0 && errno == EINTR) continue;
}

std::string last_lines(std::string text) {
    while (text.ends_with('\n')) text.pop_back();
    if (text.size() <= shown_errors_bytes_max) return text;
    text.erase(0, text.size() - shown_errors_bytes_max);
    const auto line_end = text.find('\n');
    return line_end == std::string::npos ? text : text.substr(line_end + 1);
}

}  // namespace

std::string ChildExit::text() const {
    if (end == ChildEnd::exited) return "exit code " + std::to_string(code);
    return "signal " + std::to_string(code) + " (" + ::strsignal(code) + ")";
}

class SupervisedChild::Process {
  public:
    static Result<std::unique_ptr<Process>> start(const SupervisedCommand& command);
    Process() = default;
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    Result<std::string> read_line(Deadline deadline);
    std::optional<ChildExit> poll_exit();
    void terminate(Deadline deadline);
    [[nodiscard]] std::string errors() const { return kept_->tail.text(); }
    [[nodiscard]] int pid() const { return pid_; }

  private:
    [[nodiscard]] Result<std::string> first_of_unread(std::size_t line_end);
    [[nodiscard]] std::unexpected<Error> no_more_lines(Deadline deadline);
    [[nodiscard]] std::string with_last_messages(std::string message) const;
    [[nodiscard]] bool wait_for_exit(Deadline deadline);
    void wait_for_output(Deadline deadline) const;
    void kill_group();
    void stop_keeper();

    std::string program_;
    pid_t pid_ = 0;
    Deadline first_line_deadline_;
    bool first_line_given_ = false;
    Descriptor input_;  // never written to; its closing is the message
    Descriptor output_;
    Descriptor stop_;
    std::string unread_;
    std::optional<ChildExit> exit_;
    std::shared_ptr<Kept> kept_ = std::make_shared<Kept>();
    std::thread keeper_;
};

Result<std::unique_ptr<SupervisedChild::Process>> SupervisedChild::Process::start(
    const SupervisedCommand& command) {
    if (command.arguments.empty()) {
        return fail(ErrorCode::invalid_argument, "no program to start is given.");
    }
    EXO_TRY_ASSIGN(auto input, make_pipe());
    EXO_TRY_ASSIGN(auto output, make_pipe());
    EXO_TRY_ASSIGN(auto errors, make_pipe());
    EXO_TRY_ASSIGN(auto stop, make_pipe());
    EXO_TRY_ASSIGN(auto failure, make_pipe());
    // Only of the ends in this process: the child's stay as programs expect them.
    ::fcntl(output.reader.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(errors.reader.get(), F_SETFL, O_NONBLOCK);
    Launch launch{.argument_texts = command.arguments,
                  .environment_texts = merged_environment(command.environment),
                  .parent = ::getpid(),
                  .input = std::move(input.reader),
                  .output = std::move(output.writer),
                  .errors = std::move(errors.writer),
                  .failure = std::move(failure),
                  .inherited = command.inherited_descriptor};
    if (command.errors == ChildErrors::passed_on) {
        // Where this process has none, they are kept after all.
        Descriptor own(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
        if (own.get() >= 0) launch.errors = std::move(own);
        launch.shares_terminal = true;
    }
    launch.arguments = as_pointers(launch.argument_texts);
    launch.environment = as_pointers(launch.environment_texts);

    auto process = std::make_unique<Process>();
    process->program_ = command.arguments.front();
    process->first_line_deadline_ = Deadline::after_ms(command.first_line_timeout_ms);
    process->input_ = std::move(input.writer);
    process->output_ = std::move(output.reader);
    process->stop_ = std::move(stop.writer);
    process->kept_->errors = std::move(errors.reader);
    process->kept_->stop_reader = std::move(stop.reader);
    std::promise<Result<pid_t>> started;
    auto child = started.get_future();
    try {
        process->keeper_ =
            std::thread(run_keeper, process->kept_, std::move(launch), std::move(started));
    } catch (const std::system_error& error) {
        return fail(ErrorCode::resource_exhausted,
                    std::string("cannot start a thread: ") + error.what() + ".");
    }
    EXO_TRY_ASSIGN(process->pid_, child.get());
    return process;
}

SupervisedChild::Process::~Process() {
    if (pid_ > 0 && !poll_exit()) kill_group();
    if (pid_ > 0 && !exit_) {
        kept_->abandoned = true;
        stop_.close();
        keeper_.detach();
        return;
    }
    stop_keeper();
}

void SupervisedChild::Process::stop_keeper() {
    stop_.close();
    if (keeper_.joinable()) keeper_.join();
}

void SupervisedChild::Process::kill_group() {
    ::kill(pid_, SIGKILL);  // it may have left its group
    ::kill(-pid_, SIGKILL);
    (void)wait_for_exit(Deadline::after_ms(kill_wait_ms));
}

std::optional<ChildExit> SupervisedChild::Process::poll_exit() {
    if (exit_) return exit_;
    siginfo_t info{};
    // The child stays a zombie for now: its number is that of its group and nobody else's until
    // then.
    const int status = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    if (status == 0 && info.si_pid == 0) return std::nullopt;
    if (status < 0 && errno == EINTR) return std::nullopt;
    if (status < 0) {
        // Somebody in this process has reaped it or lets the system do so: how it ended is lost.
        exit_ = ChildExit{ChildEnd::exited, -1};
    } else {
        exit_ =
            ChildExit{info.si_code == CLD_EXITED ? ChildEnd::exited : ChildEnd::killed_by_signal,
                      info.si_status};
        ::kill(-pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
    }
    input_.close();
    stop_keeper();
    return exit_;
}

bool SupervisedChild::Process::wait_for_exit(Deadline deadline) {
    constexpr useconds_t pause_us = 1000;
    while (!poll_exit()) {
        if (deadline.passed()) return false;
        ::usleep(pause_us);
    }
    return true;
}

void SupervisedChild::Process::terminate(Deadline deadline) {
    if (poll_exit()) return;
    ::kill(pid_, SIGTERM);
    if (!wait_for_exit(deadline)) kill_group();
}

Result<std::string> SupervisedChild::Process::read_line(Deadline deadline) {
    if (!first_line_given_) deadline = deadline.or_sooner(first_line_deadline_);
    for (;;) {
        const auto line_end = unread_.find('\n');
        if (std::min(line_end, unread_.size()) > child_line_bytes_max) {
            return fail(ErrorCode::resource_exhausted, program_ + " wrote a line longer than " +
                                                           std::to_string(child_line_bytes_max) +
                                                           " bytes.");
        }
        if (line_end != std::string::npos) return first_of_unread(line_end);
        // Asked before reading, so that nothing is missed that it wrote before its end.
        const bool ended = poll_exit().has_value();
        const auto state = read_some(output_.get(), unread_);
        if (state == ReadState::some) continue;
        if (state == ReadState::closed || ended) return no_more_lines(deadline);
        if (deadline.passed()) {
            return fail(ErrorCode::unavailable,
                        with_last_messages(program_ + " wrote no line in time."));
        }
        wait_for_output(deadline);
    }
}

Result<std::string> SupervisedChild::Process::first_of_unread(std::size_t line_end) {
    auto line = unread_.substr(0, line_end);
    unread_.erase(0, line_end + 1);
    first_line_given_ = true;
    return line;
}

void SupervisedChild::Process::wait_for_output(Deadline deadline) const {
    pollfd wait{output_.get(), POLLIN, 0};
    const auto wait_ms = std::min(deadline.left_us() / 1000 + 1, exit_check_interval_ms);
    ::poll(&wait, 1, static_cast<int>(wait_ms));
}

std::unexpected<Error> SupervisedChild::Process::no_more_lines(Deadline deadline) {
    if (!wait_for_exit(deadline.or_sooner(Deadline::after_ms(close_to_end_wait_ms)))) {
        return fail(ErrorCode::unavailable, program_ + " runs on but has closed its output.");
    }
    return fail(ErrorCode::unavailable,
                with_last_messages(program_ + " ended with " + exit_->text() + "."));
}

std::string SupervisedChild::Process::with_last_messages(std::string message) const {
    const auto shown = last_lines(errors());
    if (!shown.empty()) message.append(" Its last messages:\n").append(shown);
    return message;
}

SupervisedChild::SupervisedChild(std::unique_ptr<Process> process) : process_(std::move(process)) {}
SupervisedChild::~SupervisedChild() = default;
SupervisedChild::SupervisedChild(SupervisedChild&& other) noexcept = default;
SupervisedChild& SupervisedChild::operator=(SupervisedChild&& other) noexcept = default;

Result<SupervisedChild> SupervisedChild::start(const SupervisedCommand& command) {
    EXO_TRY_ASSIGN(auto process, Process::start(command));
    return SupervisedChild(std::move(process));
}

Result<std::string> SupervisedChild::read_line(Deadline deadline) {
    return process_->read_line(deadline);
}
std::optional<ChildExit> SupervisedChild::poll_exit() {
    return process_->poll_exit();
}
void SupervisedChild::terminate(Deadline deadline) {
    process_->terminate(deadline);
}
std::string SupervisedChild::errors() const {
    return process_->errors();
}
int SupervisedChild::pid() const {
    return process_->pid();
}

}  // namespace exomesh::platform
