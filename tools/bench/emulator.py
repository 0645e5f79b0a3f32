"""Drives the link emulator (tests/tools/link_emulator): hosts that are network namespaces, joined by links
with a delay, a rate and faults, all on this machine. Needs root rights and /dev/net/tun.
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess

NOT_PERMITTED = 77


class NotPermitted(Exception):
    """Namespaces or TUN devices cannot be made here; the message says why."""


class Emulator:
    """Runs while the `with` block does; then all it made is gone, whatever ended it."""

    def __init__(self, program: pathlib.Path | str, host_count: int, seed: int = 1):
        self.command_line = [str(program), str(host_count), str(seed)]

    def __enter__(self) -> "Emulator":
        self.process = subprocess.Popen(
            self.command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # it ends with us
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            _, errors = self.process.communicate(timeout=10)
            kind = NotPermitted if self.process.returncode == NOT_PERMITTED else RuntimeError
            raise kind(errors.strip())
        self.description = json.loads(line)
        self.hosts = self.description["hosts"]
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def _ask(self, command: str) -> str:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f"link emulator: {command!r}: {answer or 'it is gone'}")
        return answer

    def path(self, a: int | str = "*", b: int | str = "*", **options: float) -> None:
        """Sets what packets meet between two hosts, both ways; `*` stands for all."""
        words = " ".join(f"{name}={value}" for name, value in options.items())
        self._ask(f"path {a} {b} {words}")
        if a != b:
            self._ask(f"path {b} {a} {words}")

    def line(self, host: int | str = "*", *, rate_mbit: float) -> None:
        self._ask(f"line {host} rate_mbit={rate_mbit}")

    def statistics(self) -> dict:
        return json.loads(self._ask("statistics"))

    def address(self, host: int) -> str:
        return self.hosts[host]["address"]

    def inside(self, host: int, command: list[str]) -> list[str]:
        """The command that runs `command` on a host."""
        return ["nsenter", f"--net={self.hosts[host]['namespace']}", *command]

    def call(self, host: int, function, *arguments):
        """Calls a function with all its sockets on a host, in a thread of its own."""

        def enter_and_call():
            descriptor = os.open(self.hosts[host]["namespace"], os.O_RDONLY)
            try:
                os.setns(descriptor, os.CLONE_NEWNET)
            finally:
                os.close(descriptor)
            return function(*arguments)

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_call).result()
