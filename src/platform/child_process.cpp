#include "platform/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "platform/child_launch.h"
#include "platform/clock.h"

namespace exomesh::platform {
namespace {

Result<pid_t> spawn(const ChildCommand& command, const Pipe& output, const Pipe& errors) {
    auto arguments = command.arguments;
    auto environment = merged_environment(command.environment);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output.writer.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, errors.writer.get(), STDERR_FILENO);
    pid_t child = 0;
    const int error = ::posix_spawn(&child, arguments.front().c_str(), &actions, nullptr,
                                    as_pointers(arguments).data(), as_pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    if (error == 0) return child;
    return fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                "cannot start " + arguments.front() + ": " + std::strerror(error) + ".");
}

enum class ReadEnd { closed, timed_out, too_much };

// Reads both pipes until the child's ends are closed.
ReadEnd read_all(Pipe& output, Pipe& errors, std::uint64_t deadline_us,
                 const std::function<void(std::string_view)>& on_wait, ChildResult& result) {
    const std::uint64_t wait_max_ms = on_wait ? 500 : 60'000;
    std::array<std::pair<Descriptor*, std::string*>, 2> streams = {
        std::pair{&output.reader, &result.output}, std::pair{&errors.reader, &result.errors}};
    std::array<char, 4096> chunk{};
    while (output.reader.get() >= 0 || errors.reader.get() >= 0) {
        const auto now_us = monotonic_us();
        if (now_us >= deadline_us) return ReadEnd::timed_out;
        if (on_wait) on_wait(result.errors);
        const auto wait_ms = std::min((deadline_us - now_us) / 1000 + 1, wait_max_ms);
        // poll ignores negative descriptors: those already closed.
        std::array<pollfd, 2> waits = {pollfd{output.reader.get(), POLLIN, 0},
                                       pollfd{errors.reader.get(), POLLIN, 0}};
        if (::poll(waits.data(), waits.size(), static_cast<int>(wait_ms)) <= 0) continue;
        for (std::size_t i = 0; i < streams.size(); ++i) {
            if (waits[i].revents == 0) continue;
            const auto count = ::read(waits[i].fd, chunk.data(), chunk.size());
            if (count > 0) streams[i].second->append(chunk.data(), static_cast<std::size_t>(count));
            if (count == 0 || (count < 0 && errno != EINTR)) streams[i].first->close();
            if (streams[i].second->size() > child_output_bytes_max) return ReadEnd::too_much;
        }
    }
    return ReadEnd::closed;
}

// Waits for the child's end; past the deadline it is killed. True where that was needed.
bool reap(pid_t child, std::uint64_t deadline_us, int& status) {
    constexpr useconds_t pause_us = 1000;
    for (;;) {
        const auto ended = ::waitpid(child, &status, WNOHANG);
        if (ended == child || (ended < 0 && errno != EINTR)) return false;
        if (monotonic_us() >= deadline_us) break;
        ::usleep(pause_us);
    }
    ::kill(child, SIGKILL);
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return true;
}

}  // namespace

Result<ChildResult> run_child(const ChildCommand& command) {
    EXO_TRY_ASSIGN(auto output, make_pipe());
    EXO_TRY_ASSIGN(auto errors, make_pipe());
    const auto deadline_us = monotonic_us() + command.timeout_ms * 1000;
    EXO_TRY_ASSIGN(const auto child, spawn(command, output, errors));
    output.writer.close();
    errors.writer.close();
    ChildResult result;
    const auto read_end = read_all(output, errors, deadline_us, command.on_wait, result);
    int status = 0;
    const bool killed = reap(child, read_end == ReadEnd::closed ? deadline_us : 0, status);
    if (read_end == ReadEnd::too_much) {
        return fail(ErrorCode::resource_exhausted, command.arguments.front() + " writes too much.");
    }
    if (killed) {
        result.end = ChildEnd::timed_out;
    } else if (WIFSIGNALED(status)) {
        result.end = ChildEnd::killed_by_signal;
        result.code = WTERMSIG(status);
    } else {
        result.code = WEXITSTATUS(status);
    }
    return result;
}

}  // namespace exomesh::platform
