"""Processes under measurement: pinned to cores, started and ended by us alone, their memory read."""

import contextlib
import http.client
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

START_SECONDS_MAX = 180
STARTED = time.monotonic()


class BenchError(Exception):
    """A measurement that could not be made, with a message for people."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f}s] {text}", file=sys.stderr, flush=True)


def cores(count: int) -> list[int]:
    """The last `count` cores we may use; the first one tends to serve interrupts."""
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise BenchError(f"{count} threads were asked for, but this machine lends {len(allowed)} cores")
    return allowed[-count:]


def pinned(command: list[str], threads: int) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, cores(threads))), *command]


def output_of(command: list[str], timeout: float = 1800) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr + done.stdout).splitlines()[-15:])
        raise BenchError(f"{' '.join(command)}\nended with status {done.returncode}:\n{tail}")
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port: int, path: str) -> bool:
    """Whether it answers `path` with 200; without a path, whether it takes connections."""
    if not path:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def server(command: list[str], port: int, ready_path: str):
    """Runs a server until the block ends; yields its process once it is ready."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not is_ready(port, ready_path):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    tail = log.read().decode(errors="replace").splitlines()[-15:]
                    raise BenchError(f"{' '.join(command)}\ndid not come up:\n" + "\n".join(tail))
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def status_bytes(status: str, field: str) -> int:
    """A size from the text of /proc/PID/status, such as VmRSS."""
    for line in status.splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"/proc/PID/status has no {field}")


def memory_of(pid: int) -> dict[str, int]:
    """Resident bytes of a process and its children's (a node may supervise runners), now and at most."""
    total = {"VmRSS": 0, "VmHWM": 0}
    for each in [pid, *descendants(pid)]:
        status = pathlib.Path(f"/proc/{each}/status").read_text()
        for field in total:
            total[field] += status_bytes(status, field)
    return total


def descendants(pid: int) -> list[int]:
    found = []
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found


def busy_seconds(pid: int) -> float:
    """CPU seconds a process has used, all threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_busy_seconds(stat: str) -> float:
    """CPU seconds all processes have used, from the text of /proc/stat: all but idle and waiting."""
    user, nice, system, _, _, interrupt, soft_interrupt, steal = map(int, stat.split()[1:9])
    return (user + nice + system + interrupt + soft_interrupt + steal) / os.sysconf("SC_CLK_TCK")


class Others:
    """What share of the machine processes other than ours used since this was made (0 to 1).

    Our children count once they have ended, so ask when none is left running.
    """

    def __init__(self):
        self.since, self.foreign = time.monotonic(), self.foreign_seconds()

    @staticmethod
    def foreign_seconds() -> float:
        mine = sum(os.times()[:4])  # of us and of our ended children: user and system
        return machine_busy_seconds(pathlib.Path("/proc/stat").read_text()) - mine

    def share(self) -> float:
        elapsed = (time.monotonic() - self.since) * os.cpu_count()
        return max((self.foreign_seconds() - self.foreign) / elapsed, 0.0)
